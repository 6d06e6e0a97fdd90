package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const loadUsage = `load posts binary CloudEvents and prints a line of JSON: how many, how answered, how long it took.
Ce-Id is the number of the event, Ce-Sentat the nanosecond at which it was (to be) sent.
`

// load keeps every connection busy, or with a rate sends each event at its time on an idle one.
// With a rate a latency counts from the moment at which the event was due, not from when a
// connection was free for it.
type load struct {
	loop        *loop
	connections map[int32]*loadConnection
	idle        []*loadConnection
	heads       [][]byte // one for each host, all of one length
	headID      int      // where in a head the number goes
	headSent    int
	next, count int64
	interval    float64 // nanoseconds between events; 0 for no rate
	begin, end  int64
	answers     map[string]int64
	answered    int64
	broken      int64
	latency     histogram
}

type loadConnection struct {
	writer
	request []byte
	sent    int64
	busy    bool
	buffer  [4 << 10]byte
	filled  int
}

const (
	idDigits   = 10
	sentDigits = 19
)

func runLoad(arguments []string) error {
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	address := flags.String("address", "127.0.0.1:8080", "where to post to")
	host := flags.String("host", "bench", "Host header; a %04d in it is replaced by the channel's number")
	hosts := flags.Int("hosts", 1, "number of channels, used in turn")
	count := flags.Int64("count", 10000, "number of events")
	connections := flags.Int("connections", 64, "number of connections, each with one event at a time")
	body := flags.Int("body", 30, "length of the body")
	rate := flags.Float64("rate", 0, "events a second; 0 for as many as are answered")
	flags.Usage = func() { fmt.Fprint(os.Stderr, loadUsage); flags.PrintDefaults() }
	_ = flags.Parse(arguments)

	g := &load{connections: map[int32]*loadConnection{}, answers: map[string]int64{}, count: *count}
	if *rate > 0 {
		g.interval = 1e9 / *rate
	}
	if err := g.makeHeads(*host, *hosts, *body); err != nil {
		return err
	}
	var err error
	if g.loop, err = newLoop(); err != nil {
		return err
	}
	if err := g.connect(*address, *connections, *body); err != nil {
		return err
	}
	if err := g.run(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"sent":       g.next,
		"answers":    g.answers,
		"broken":     g.broken,
		"begin":      float64(g.begin) / 1e9,
		"end":        float64(g.end) / 1e9,
		"latency_ms": g.latency.quantiles(),
	})
}

func (g *load) makeHeads(host string, hosts, body int) error {
	for number := 0; number < hosts; number++ {
		name := strings.ReplaceAll(host, "%04d", fmt.Sprintf("%04d", number))
		head := "POST / HTTP/1.1\r\nHost: " + name + "\r\nContent-Type: application/json\r\n" +
			"Ce-Specversion: 1.0\r\nCe-Type: bench.event\r\nCe-Source: /bench\r\n" +
			"Ce-Id: " + strings.Repeat("0", idDigits) + "\r\n" +
			"Ce-Sentat: " + strings.Repeat("0", sentDigits) + "\r\n" +
			"Content-Length: " + strconv.Itoa(body) + "\r\n\r\n"
		g.headID = strings.Index(head, "Ce-Id: ") + len("Ce-Id: ")
		g.headSent = strings.Index(head, "Ce-Sentat: ") + len("Ce-Sentat: ")
		if number > 0 && len(head) != len(g.heads[0]) {
			return fmt.Errorf("hosts are not of one length: %d is too many for %%04d", hosts)
		}
		g.heads = append(g.heads, []byte(head))
	}
	return nil
}

func (g *load) connect(address string, connections, body int) error {
	for range make([]struct{}, connections) {
		conn, err := net.Dial("tcp4", address)
		if err != nil {
			return err
		}
		file, err := conn.(*net.TCPConn).File()
		if err != nil {
			return err
		}
		fd := int(file.Fd())
		if err := syscall.SetNonblock(fd, true); err != nil {
			return err
		}
		_ = conn.Close() // file is a copy of the descriptor, which Go's own poller leaves alone
		keep = append(keep, file)
		c := &loadConnection{writer: writer{fd: fd}, request: make([]byte, len(g.heads[0])+body)}
		copy(c.request[len(g.heads[0]):], `"`+strings.Repeat("x", max(body-2, 0))+`"`)
		g.connections[int32(fd)] = c
		g.idle = append(g.idle, c)
		if err := g.loop.watch(fd); err != nil {
			return err
		}
	}
	return nil
}

func (g *load) run() error {
	g.begin = now()
	for g.sendDue(); g.answered+g.broken < g.count && len(g.connections) > 0; g.sendDue() {
		events, err := g.loop.wait()
		if err != nil {
			return err
		}
		for i := range events {
			if c := g.connections[events[i].Fd]; c != nil {
				g.serve(c, events[i].Events)
			} else if int(events[i].Fd) == g.loop.timer {
				g.loop.clearTimer()
			}
		}
	}
	g.end = now()
	return nil
}

func (g *load) sendDue() {
	for g.next < g.count && len(g.idle) > 0 {
		moment := now()
		if g.interval > 0 {
			due := g.begin + int64(float64(g.next)*g.interval)
			if due > moment {
				g.loop.wakeIn(time.Duration(due - moment))
				return
			}
			moment = due
		}
		c := g.idle[len(g.idle)-1]
		g.idle = g.idle[:len(g.idle)-1]
		g.post(c, moment)
	}
}

func (g *load) post(c *loadConnection, moment int64) {
	head := g.heads[g.next%int64(len(g.heads))]
	copy(c.request, head)
	digits(c.request[g.headID:g.headID+idDigits], g.next)
	digits(c.request[g.headSent:g.headSent+sentDigits], moment)
	g.next++
	c.sent, c.busy = moment, true
	if !c.send(g.loop, c.request) {
		g.drop(c)
	}
}

func digits(to []byte, value int64) {
	for i := len(to) - 1; i >= 0; i-- {
		to[i] = byte('0' + value%10)
		value /= 10
	}
}

func (g *load) serve(c *loadConnection, events uint32) {
	if events&syscall.EPOLLOUT != 0 && !c.flush(g.loop) {
		g.drop(c)
		return
	}
	if events&^syscall.EPOLLOUT == 0 {
		return
	}
	n, errno := read(c.fd, c.buffer[c.filled:])
	if errno == syscall.EAGAIN {
		return
	}
	if errno != 0 || n == 0 {
		g.drop(c)
		return
	}
	c.filled += n
	var m message
	if err := m.parse(c.buffer[:c.filled]); err == errIncomplete && c.filled < len(c.buffer) {
		return
	} else if err != nil || m.size != c.filled || !c.busy || len(m.first) < 12 {
		g.drop(c)
		return
	}
	g.answers[string(m.first[9:12])]++
	g.answered++
	g.latency.observe(now() - c.sent)
	c.filled, c.busy = 0, false
	if m.closes {
		g.drop(c)
		return
	}
	g.idle = append(g.idle, c)
}

// drop gives a connection up, and the event on it, if there was one.
func (g *load) drop(c *loadConnection) {
	if c.busy {
		g.broken++
	}
	delete(g.connections, int32(c.fd))
	_ = syscall.Close(c.fd)
}

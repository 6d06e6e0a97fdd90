package main

import (
	"bytes"
	"flag"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

const sinkUsage = `sink answers every POST with 202, after a delay. It prints its address, then obeys
commands on its standard input and answers each with a line of JSON:
  stats          what arrived since the last reset
  wait N MS      the same, once N events arrived (copies not counted) or MS milliseconds went by
  reset          forget what arrived
It ends when its standard input ends.
`

var accepted = []byte("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")

// sink counts by subscriber, which is the path that an event is posted to.
type sink struct {
	loop        *loop
	listener    int
	delay       time.Duration
	connections map[int32]*sinkConnection
	due         []dueAnswer // in the order of time, for the delay is constant
	seen        map[string]*bitset
	latency     histogram
	received    int64
	unique      int64
	unreadable  int64
	begin, end  int64
	requests    chan request
	wake        int
	waiting     *request
}

type sinkConnection struct {
	writer
	buffer []byte
	filled int
}

type dueAnswer struct {
	at         int64
	connection *sinkConnection
}

func runSink(arguments []string) error {
	flags := flag.NewFlagSet("sink", flag.ExitOnError)
	listen := flags.String("listen", "127.0.0.1:0", "address")
	delay := flags.Duration("delay", 0, "time until an event is answered")
	flags.Usage = func() { fmt.Fprint(os.Stderr, sinkUsage); flags.PrintDefaults() }
	_ = flags.Parse(arguments)

	s := &sink{delay: *delay, connections: map[int32]*sinkConnection{}, requests: make(chan request)}
	s.forget()
	address, err := s.open(*listen)
	if err != nil {
		return err
	}
	fmt.Println(address)
	go s.readCommands()
	return s.run()
}

func (s *sink) open(address string) (string, error) {
	listener, err := net.Listen("tcp4", address)
	if err != nil {
		return "", err
	}
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		return "", err
	}
	s.listener = int(file.Fd())
	if err := syscall.SetNonblock(s.listener, true); err != nil {
		return "", err
	}
	var pipe [2]int
	if err := syscall.Pipe2(pipe[:], syscall.O_NONBLOCK); err != nil {
		return "", err
	}
	if s.loop, err = newLoop(); err != nil {
		return "", err
	}
	s.wake = pipe[1]
	for _, fd := range []int{s.listener, pipe[0]} {
		if err := s.loop.watch(fd); err != nil {
			return "", err
		}
	}
	defer listener.Close() // file is a copy of the descriptor, which Go's own poller leaves alone
	keep = append(keep, file)
	return listener.Addr().String(), nil
}

// keep holds what must not be closed by the garbage collector.
var keep []any

func (s *sink) run() error {
	for {
		events, err := s.loop.wait()
		if err != nil {
			return err
		}
		for i := range events {
			switch fd := events[i].Fd; {
			case int(fd) == s.listener:
				s.accept()
			case int(fd) == s.loop.timer:
				s.loop.clearTimer()
				s.answerDue()
			case s.connections[fd] != nil:
				s.serve(s.connections[fd], events[i].Events)
			default:
				s.obey(int(fd))
			}
		}
		s.settleWaiting()
	}
}

func (s *sink) accept() {
	for {
		fd, _, err := syscall.Accept4(s.listener, syscall.SOCK_NONBLOCK)
		if err != nil {
			return
		}
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
		s.connections[int32(fd)] = &sinkConnection{writer: writer{fd: fd}, buffer: make([]byte, 8<<10)}
		_ = s.loop.watch(fd)
	}
}

func (s *sink) serve(c *sinkConnection, events uint32) {
	if events&syscall.EPOLLOUT != 0 && !c.flush(s.loop) {
		s.drop(c)
		return
	}
	if events&^syscall.EPOLLOUT == 0 {
		return
	}
	if c.filled == len(c.buffer) {
		c.buffer = append(c.buffer, make([]byte, len(c.buffer))...)
	}
	n, errno := read(c.fd, c.buffer[c.filled:])
	if errno == syscall.EAGAIN {
		return
	}
	if errno != 0 || n == 0 {
		s.drop(c)
		return
	}
	c.filled += n
	var m message
	start := 0
	for start < c.filled {
		err := m.parse(c.buffer[start:c.filled])
		if err == errIncomplete {
			break
		}
		if err != nil || !s.count(&m) {
			s.unreadable++
			s.drop(c)
			return
		}
		start += m.size
		if !s.answer(c) {
			s.drop(c)
			return
		}
	}
	c.filled = copy(c.buffer, c.buffer[start:c.filled])
}

func (s *sink) answer(c *sinkConnection) bool {
	if s.delay == 0 {
		return c.send(s.loop, accepted)
	}
	s.due = append(s.due, dueAnswer{now() + int64(s.delay), c})
	if len(s.due) == 1 {
		s.loop.wakeIn(s.delay)
	}
	return true
}

func (s *sink) answerDue() {
	moment, done := now(), 0
	for ; done < len(s.due) && s.due[done].at <= moment; done++ {
		c := s.due[done].connection
		if c.fd >= 0 && !c.send(s.loop, accepted) {
			s.drop(c)
		}
	}
	s.due = s.due[done:]
	if len(s.due) > 0 {
		s.loop.wakeIn(time.Duration(s.due[0].at - now()))
	}
}

func (s *sink) drop(c *sinkConnection) {
	delete(s.connections, int32(c.fd))
	_ = syscall.Close(c.fd)
	c.fd = -1
}

// count notes an event; false if it is none of the load generator's.
func (s *sink) count(m *message) bool {
	id, okID := number(m.id)
	sent, okSent := number(m.sent)
	path, okPath := requestPath(m.first)
	if !okID || !okSent || !okPath {
		return false
	}
	set := s.seen[string(path)]
	if set == nil {
		set = &bitset{}
		s.seen[string(path)] = set
	}
	s.end = now()
	if s.received == 0 {
		s.begin = s.end
	}
	s.received++
	if set.add(id) {
		s.unique++
		s.latency.observe(s.end - sent)
	}
	return true
}

func requestPath(line []byte) ([]byte, bool) {
	rest, isPost := bytes.CutPrefix(line, []byte("POST "))
	path, _, complete := bytes.Cut(rest, []byte(" "))
	return path, isPost && complete
}

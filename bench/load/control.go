package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// request is a command that the loop answers between two events.
type request struct {
	words  []string
	until  time.Time
	unique int64
	answer chan string
}

// What a byte in the pipe tells the loop.
const isCommand, isTimeout = 1, 2

func (s *sink) forget() {
	s.seen = map[string]*bitset{}
	s.latency = histogram{}
	s.received, s.unique, s.unreadable, s.begin, s.end = 0, 0, 0, 0, 0
}

func (s *sink) readCommands() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		r := request{words: strings.Fields(lines.Text()), answer: make(chan string, 1)}
		_, _ = syscall.Write(s.wake, []byte{isCommand})
		s.requests <- r
		fmt.Println(<-r.answer)
	}
	os.Exit(0)
}

func (s *sink) obey(pipe int) {
	var why [1]byte
	if n, errno := read(pipe, why[:]); errno != 0 || n != 1 || why[0] != isCommand {
		return // for a timeout it is enough that the loop has turned
	}
	r := <-s.requests
	switch {
	case len(r.words) == 1 && r.words[0] == "reset":
		s.forget()
	case len(r.words) == 3 && r.words[0] == "wait":
		var milliseconds int64
		_, err1 := fmt.Sscan(r.words[1], &r.unique)
		_, err2 := fmt.Sscan(r.words[2], &milliseconds)
		if err1 == nil && err2 == nil {
			r.until = time.Now().Add(time.Duration(milliseconds) * time.Millisecond)
			s.waiting = &r
			time.AfterFunc(time.Until(r.until), func() { _, _ = syscall.Write(s.wake, []byte{isTimeout}) })
			return
		}
	}
	r.answer <- s.stats()
}

func (s *sink) settleWaiting() {
	if s.waiting == nil || s.unique < s.waiting.unique && time.Now().Before(s.waiting.until) {
		return
	}
	s.waiting.answer <- s.stats()
	s.waiting = nil
}

func (s *sink) stats() string {
	text, err := json.Marshal(map[string]any{
		"received":    s.received,
		"unique":      s.unique,
		"duplicates":  s.received - s.unique,
		"unreadable":  s.unreadable,
		"subscribers": len(s.seen),
		"begin":       float64(s.begin) / 1e9,
		"end":         float64(s.end) / 1e9,
		"latency_ms":  s.latency.quantiles(),
	})
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// bitset holds the numbers of the events that one subscriber got.
type bitset struct{ words []uint64 }

// add tells whether the number is new.
func (b *bitset) add(n int64) bool {
	word, bit := n>>6, uint64(1)<<(n&63)
	for int64(len(b.words)) <= word {
		b.words = append(b.words, make([]uint64, len(b.words)+64)...)
	}
	isNew := b.words[word]&bit == 0
	b.words[word] |= bit
	return isNew
}

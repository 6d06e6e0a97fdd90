package main

import (
	"bytes"
	"errors"
)

// message is one HTTP/1.1 request or response with Content-Length, as bytes of a receive buffer.
type message struct {
	first  []byte // request line or status line
	id     []byte // value of Ce-Id
	sent   []byte // value of Ce-Sentat
	length int    // of the body
	closes bool   // Connection: close
	size   int    // of all of it, head and body
}

var (
	errIncomplete = errors.New("not all of the message is there yet")
	errUnreadable = errors.New("not the HTTP that is spoken here")
)

var (
	endOfHead     = []byte("\r\n\r\n")
	nameLength    = []byte("content-length")
	nameID        = []byte("ce-id")
	nameSent      = []byte("ce-sentat")
	nameClose     = []byte("connection")
	nameChunks    = []byte("transfer-encoding")
	valueClose    = []byte("close")
	maxHeadLength = 64 << 10
)

// parse reads the message at the beginning of data into m.
func (m *message) parse(data []byte) error {
	end := bytes.Index(data, endOfHead)
	if end < 0 {
		if len(data) > maxHeadLength {
			return errUnreadable
		}
		return errIncomplete
	}
	*m = message{}
	head := data[:end+2]
	line := bytes.IndexByte(head, '\n')
	m.first = head[:line-1]
	for head = head[line+1:]; len(head) > 0; head = head[line+1:] {
		line = bytes.IndexByte(head, '\n')
		if err := m.header(head[:line-1]); err != nil {
			return err
		}
	}
	m.size = end + len(endOfHead) + m.length
	if m.size > len(data) {
		return errIncomplete
	}
	return nil
}

func (m *message) header(line []byte) error {
	colon := bytes.IndexByte(line, ':')
	if colon < 0 {
		return errUnreadable
	}
	name := line[:colon]
	switch colon {
	case len(nameLength):
		if bytes.EqualFold(name, nameLength) {
			length, ok := number(bytes.TrimSpace(line[colon+1:]))
			if !ok {
				return errUnreadable
			}
			m.length = int(length)
		}
	case len(nameID):
		if bytes.EqualFold(name, nameID) {
			m.id = bytes.TrimSpace(line[colon+1:])
		}
	case len(nameSent):
		if bytes.EqualFold(name, nameSent) {
			m.sent = bytes.TrimSpace(line[colon+1:])
		}
	case len(nameClose):
		if bytes.EqualFold(name, nameClose) {
			m.closes = bytes.EqualFold(bytes.TrimSpace(line[colon+1:]), valueClose)
		}
	case len(nameChunks):
		if bytes.EqualFold(name, nameChunks) {
			return errUnreadable
		}
	}
	return nil
}

func number(digits []byte) (int64, bool) {
	if len(digits) == 0 || len(digits) > 19 {
		return 0, false
	}
	var value int64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		value = value*10 + int64(c-'0')
	}
	return value, true
}

//go:build ignore

// Writes go-json.json: events and what Go's encoding/json makes of them.
//
//	go run generate.go > go-json.json
//
// The message and the choice of headers are those of the Go dispatcher v0.6.0 but for three things:
// trace context of the W3C and b3 travel, with all values of tracestate and baggage, an incoming
// history is continued under one key, and the bytes \b and \f are not drawn, because encoding/json
// has written them differently since Go 1.22.
package main

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"net/http"
	"net/textproto"
	"os"
	"strings"
)

type message struct {
	Headers map[string]string `json:"headers,omitempty"`
	Payload []byte            `json:"payload,omitempty"`
}

type header struct {
	Name  string `json:"name"`
	Value []byte `json:"value"`
}

type event struct {
	Host    string   `json:"host"`
	Headers []header `json:"headers"`
	Body    []byte   `json:"body"`
	Stored  string   `json:"stored"`
}

const (
	tokenBytes = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-----"
	historyKey = "ce-knativehistory"
)

var random = rand.New(rand.NewSource(1))

var fixedNames = []string{
	"Content-Type", "content-TYPE", "X-Request-Id", "traceparent", "TraceState", "Ce-Id", "ce-id",
	"CE-Source-ID", "ce-knativehistory", "Ce-KnativeHistory", "Knative-Correlation-Id",
	"tracestate", "Baggage", "baggage", "b3",
	"X-B3-Traceid", "x-ot-span-context", "Authorization", "Host", "Content-Length", "X-Other",
	"Cookie", "ce", "ce_id", "x-b3", "knative", "X-Request-Id-2", "Connection",
}

var prefixes = []string{"ce-", "Ce-", "CE-", "knative-", "X-B3-", "x-ot-", "x-", "", "cE-x-"}

var oddities = []string{
	"<a href=\"x\">&amp;</a>", `back\slash "quote" /`, "\u2028 \u2029 \u2027 \u202a", "\ufffd", "\u00fc\u00df",
	"\U0001f600", "\xed\xa0\x80", "\xc0\x80", "\xe2\x82", "\xf4\x90\x80\x80", "\xf0\x9f\x98", "\xff\xfe",
	"\x00", "\r\nX-Injected: 1", "\t", "\x7f", "\x1f", " lead and trail \t", "", "%", "100%b %s", "\u0080",
}

func name() string {
	if random.Intn(2) == 0 {
		return fixedNames[random.Intn(len(fixedNames))]
	}
	tail := make([]byte, random.Intn(12)+1)
	for i := range tail {
		tail[i] = tokenBytes[random.Intn(len(tokenBytes))]
	}
	return prefixes[random.Intn(len(prefixes))] + string(tail)
}

func value() string {
	var text strings.Builder
	for range random.Intn(4) {
		switch random.Intn(5) {
		case 0:
			text.WriteString(oddities[random.Intn(len(oddities))])
		case 1:
			text.WriteRune(rune(random.Intn(0x11000)))
		case 2:
			for range random.Intn(6) {
				if b := byte(random.Intn(256)); b != '\b' && b != '\f' {
					text.WriteByte(b)
				}
			}
		default:
			fmt.Fprintf(&text, "text %d", random.Intn(1000))
		}
	}
	return textproto.TrimString(text.String())
}

func travels(name string) bool {
	switch name {
	case "content-type", "x-request-id", "traceparent", "tracestate", "baggage", "b3":
		return true
	}
	for _, prefix := range []string{"knative-", "ce-", "x-b3-", "x-ot-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

func draw() event {
	drawn := event{Host: fmt.Sprintf("c%d.default.channels.cluster.local", random.Intn(100))}
	incoming := http.Header{}
	for range random.Intn(9) {
		next := header{Name: name(), Value: []byte(value())}
		drawn.Headers = append(drawn.Headers, next)
		incoming.Add(next.Name, string(next.Value))
	}
	drawn.Body = make([]byte, random.Intn(40))
	random.Read(drawn.Body)
	stored := message{Headers: map[string]string{}, Payload: drawn.Body}
	history := drawn.Host
	for name, values := range incoming {
		switch lower := strings.ToLower(name); {
		case lower == historyKey:
			if values[0] != "" {
				history = values[0] + "; " + drawn.Host
			}
		case lower == "tracestate" || lower == "baggage":
			stored.Headers[name] = strings.Join(values, ",")
		case travels(lower):
			stored.Headers[name] = values[0]
		}
	}
	stored.Headers[historyKey] = history
	data, err := json.Marshal(stored)
	if err != nil {
		panic(err)
	}
	drawn.Stored = string(data)
	return drawn
}

func main() {
	fmt.Print("[\n")
	for i := range 200 {
		line, err := json.Marshal(draw())
		if err != nil {
			panic(err)
		}
		if i > 0 {
			fmt.Print(",\n")
		}
		os.Stdout.Write(line)
	}
	fmt.Print("\n]\n")
}

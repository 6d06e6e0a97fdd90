// Command bench-load is both ends of a measurement: "load" posts CloudEvents over HTTP/1.1 as fast
// as they are answered or at a given rate, "sink" answers them and counts what arrived.
//
// It must never be the bottleneck, nor take the CPU that the measured program could have used.
// So each mode is one thread on one epoll, with a parser for just the HTTP that is spoken here.
// It is for Linux, for measuring only, and for 127.0.0.1 only.
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
)

const usage = `usage: bench-load load|sink [flags]   (-h for the flags)`

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf(usage))
	}
	runtime.GOMAXPROCS(2) // one thread for the loop, one for everything else
	runtime.LockOSThread()
	debug.SetGCPercent(400)
	raiseFileLimit()
	var err error
	switch os.Args[1] {
	case "load":
		err = runLoad(os.Args[2:])
	case "sink":
		err = runSink(os.Args[2:])
	default:
		err = fmt.Errorf(usage)
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bench-load:", err)
	os.Exit(1)
}

func raiseFileLimit() {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		limit.Cur = limit.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) // fewer connections then, no more
	}
}

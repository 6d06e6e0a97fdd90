package main

import (
	"syscall"
	"time"
	"unsafe"
)

// loop is a level-triggered epoll with one timer. Its file descriptors do not block, so that the
// system calls on them need not tell the scheduler of Go.
type loop struct {
	epoll  int
	timer  int
	events [512]syscall.EpollEvent
}

func newLoop() (*loop, error) {
	epoll, err := syscall.EpollCreate1(0)
	if err != nil {
		return nil, err
	}
	const monotonic, nonblock = 1, 0x800
	timer, _, errno := syscall.RawSyscall(syscall.SYS_TIMERFD_CREATE, monotonic, nonblock, 0)
	if errno != 0 {
		return nil, errno
	}
	l := &loop{epoll: epoll, timer: int(timer)}
	return l, l.watch(l.timer)
}

func (l *loop) watch(fd int) error {
	event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)}
	return syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_ADD, fd, &event)
}

// watchWrites makes the loop report fd also when it can be written to.
func (l *loop) watchWrites(fd int, also bool) {
	event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)}
	if also {
		event.Events |= syscall.EPOLLOUT
	}
	_ = syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_MOD, fd, &event)
}

// wakeIn makes the timer's descriptor readable after a while, at once if it is not positive.
func (l *loop) wakeIn(after time.Duration) {
	if after <= 0 {
		after = 1
	}
	spec := [4]int64{2: int64(after / time.Second), 3: int64(after % time.Second)}
	syscall.RawSyscall6(syscall.SYS_TIMERFD_SETTIME,
		uintptr(l.timer), 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
}

func (l *loop) clearTimer() {
	var count [8]byte
	read(l.timer, count[:])
}

// wait gives the descriptors for which there is something to do.
func (l *loop) wait() ([]syscall.EpollEvent, error) {
	for {
		n, err := syscall.EpollWait(l.epoll, l.events[:], -1)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		return l.events[:n], nil
	}
}

func read(fd int, to []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ,
		uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(to))), uintptr(len(to)))
	return int(n), errno
}

func write(fd int, from []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE,
		uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(from))), uintptr(len(from)))
	return int(n), errno
}

// writer sends bytes to a descriptor, and keeps what the kernel does not take at once.
type writer struct {
	fd   int
	rest []byte
}

// send writes, or queues behind what is queued; false means that the connection is broken.
func (w *writer) send(l *loop, data []byte) bool {
	if len(w.rest) > 0 {
		w.rest = append(w.rest, data...)
		return true
	}
	n, errno := write(w.fd, data)
	switch {
	case errno == syscall.EAGAIN:
		n = 0
	case errno != 0:
		return false
	}
	if n < len(data) {
		w.rest = append(w.rest[:0], data[n:]...)
		l.watchWrites(w.fd, true)
	}
	return true
}

// flush goes on with what is queued; false means that the connection is broken.
func (w *writer) flush(l *loop) bool {
	n, errno := write(w.fd, w.rest)
	if errno == syscall.EAGAIN {
		return true
	}
	if errno != 0 {
		return false
	}
	w.rest = append(w.rest[:0], w.rest[n:]...)
	if len(w.rest) == 0 {
		l.watchWrites(w.fd, false)
	}
	return true
}

// timestamps of both ends must compare, so they are those of the wall clock.
func now() int64 { return time.Now().UnixNano() }

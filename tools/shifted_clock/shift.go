// Part of the package time of a program whose wall clock can be made wrong while it runs.
// The monotonic clock, and with it every timer, stays right, as when a clock is stepped.

package time

import (
	"syscall"
	"unsafe"
)

const shiftVariable = "FAULTS_CLOCK"

// shift is how far the wall clock is ahead, in seconds: the content of the file that the
// environment names, which may change at any time.
var shift = mapShift()

func mapShift() *float64 {
	path, found := syscall.Getenv(shiftVariable)
	if !found {
		return new(float64)
	}
	file, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		panic(shiftVariable + ": " + path + ": " + err.Error())
	}
	memory, err := syscall.Mmap(file, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic(shiftVariable + ": " + path + ": " + err.Error())
	}
	syscall.Close(file)
	return (*float64)(unsafe.Pointer(&memory[0]))
}

func shifted(sec int64, nsec int32) (int64, int32) {
	ahead := int64(*shift * 1e9)
	sec += ahead / 1e9
	nano := int64(nsec) + ahead%1e9
	if nano < 0 {
		return sec - 1, int32(nano + 1e9)
	}
	if nano >= 1e9 {
		return sec + 1, int32(nano - 1e9)
	}
	return sec, int32(nano)
}

package main

import "math/bits"

// histogram counts durations in buckets that are 1/64 of their value wide at most.
type histogram struct {
	buckets [64 * 64]int64
	count   int64
	max     int64
}

func (h *histogram) observe(nanoseconds int64) {
	if nanoseconds < 0 {
		nanoseconds = 0
	}
	h.buckets[bucket(nanoseconds)]++
	h.count++
	if nanoseconds > h.max {
		h.max = nanoseconds
	}
}

func bucket(value int64) int {
	shift := bits.Len64(uint64(value)) - 7
	if shift <= 0 {
		return int(value)
	}
	return shift<<6 + int(value>>shift)
}

// upper is the largest value that falls into a bucket.
func upper(index int) int64 {
	if index < 128 {
		return int64(index)
	}
	shift := index>>6 - 1
	return (int64(index-shift<<6)+1)<<shift - 1
}

// quantiles are in milliseconds, ready to be printed as JSON.
func (h *histogram) quantiles() map[string]float64 {
	result := map[string]float64{"max": float64(h.max) / 1e6}
	for name, part := range map[string]float64{"p50": .5, "p90": .9, "p99": .99, "p99.9": .999} {
		wanted, seen := int64(part*float64(h.count)), int64(0)
		for index, n := range h.buckets {
			if seen += n; seen > wanted {
				result[name] = float64(min(upper(index), h.max)) / 1e6
				break
			}
		}
	}
	return result
}

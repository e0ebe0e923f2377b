package spool

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func cancelled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func fillDone(n int) *doneSet {
	var s doneSet
	for i := range n {
		s.add(&Record{Key: fmt.Sprintf("%016x%08d", i*7919, i), Size: int64(i), HeaderHash: fmt.Sprintf("%016x", int64(i)<<40), Outcome: Outcome(1 + i%3)})
	}
	s.finish()
	return &s
}

func TestDoneSet(t *testing.T) {
	const n = 100_000
	s := fillDone(n)
	for i := range n {
		r, ok := s.get(fmt.Sprintf("%016x%08d", i*7919, i))
		require.True(t, ok)
		require.Equal(t, Record{State: StateDone, Size: int64(i), HeaderHash: fmt.Sprintf("%016x", int64(i)<<40)[:7], Outcome: Outcome(1 + i%3)}, r)
	}
	for i := range n {
		_, ok := s.get(fmt.Sprint("other", i))
		require.False(t, ok)
	}
	var big doneSet
	big.add(&Record{Key: "big", Size: 1 << 40, HeaderHash: "not hex", Outcome: OutcomeDelivered})
	big.finish()
	r, ok := big.get("big")
	require.True(t, ok)
	assert.Empty(t, r.HeaderHash)
	assert.False(t, r.SizeDiffers(1<<41), "sizes beyond 4 GiB are one")
	assert.True(t, r.SizeDiffers(5))
}

func TestAMillionDoneMailsTake16MB(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := fillDone(1_000_000)
	runtime.GC()
	runtime.ReadMemStats(&after)
	assert.LessOrEqual(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(16_300_000))
	runtime.KeepAlive(s)
}

func BenchmarkLookupAmongAMillion(b *testing.B) {
	m := &Mailbox{done: *fillDone(1_000_000)}
	i := 0
	for b.Loop() {
		m.Lookup(fmt.Sprintf("%016x%08d", i*7919, i))
		i = (i + 7919) % 1_000_000
	}
}

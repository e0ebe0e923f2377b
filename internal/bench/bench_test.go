package main

import (
	"fmt"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/maildriver/maildriver/spool"
)

func BenchmarkDurable(b *testing.B) {
	const n = 256
	mails := makeMails(n)
	for _, c := range []struct {
		name string
		run  func(root string) error
	}{
		{"pipeline/10KB", func(root string) error { return pipeline(root, mails, n) }},
		{"pipeline/10KB/batch=10", func(root string) error { return pipeline(root, mails, 10) }},
		{"onebyone/10KB", func(root string) error { return oneByOne(root, mails, "%d.eml", "%d.txt") }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(n * mailBytes)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				if err := c.run(filepath.Join(b.TempDir(), fmt.Sprint(i))); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(i*n), "us/mail")
		})
	}
}

// locked gives a mailbox that knows n done mails from an earlier session, and what they take in memory.
func locked(tb testing.TB, n int) (box *spool.Mailbox, bytes int64) {
	tb.Helper()
	sp, err := spool.New(filepath.Join(tb.TempDir(), "spool"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = sp.Close() })
	id := spool.MailboxID{Protocol: "POP3", Server: "bench.example.com", Account: "bench"}
	box, err = sp.Lock(id)
	if err != nil {
		tb.Fatal(err)
	}
	changes := make([]spool.Change, 0, 10_000)
	for i := range n {
		changes = append(changes, spool.DoneRecord(spool.Record{Key: keyOf(i), Size: int64(i), HeaderHash: fmt.Sprintf("%016x", i)},
			spool.OutcomeDelivered, spool.DisposeDelete, ""))
		if len(changes) == cap(changes) || i == n-1 {
			if err := box.Append(changes...); err != nil {
				tb.Fatal(err)
			}
			changes = changes[:0]
		}
	}
	if err := box.Unlock(); err != nil {
		tb.Fatal(err)
	}
	box, err = sp.Lock(id) // merges
	if err == nil {
		err = box.Unlock()
	}
	if err != nil {
		tb.Fatal(err)
	}
	box, changes = nil, nil
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	if box, err = sp.Lock(id); err != nil {
		tb.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	tb.Cleanup(func() { _ = box.Unlock() })
	return box, int64(after.HeapAlloc) - int64(before.HeapAlloc)
}

func keyOf(i int) string { return fmt.Sprintf("%08x%08x", uint32(i)*2654435761, i) }

func BenchmarkKnownID(b *testing.B) {
	const n = 1_000_000
	box, bytes := locked(b, n)
	keys := make([]string, 1<<16)
	for i := range keys {
		keys[i] = keyOf(i * 31 % (2 * n)) // half of them are unknown
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		rec, ok := box.Lookup(keys[i&(len(keys)-1)])
		if ok && rec.State != spool.StateDone {
			b.Fatal(rec)
		}
		i++
	}
	b.ReportMetric(float64(bytes)/(1<<20), "MiB")
}

// TestMillionKnownIDs holds the two promises about known mails: 16 MB for a million, a microsecond for each.
func TestMillionKnownIDs(t *testing.T) {
	const n = 1_000_000
	box, bytes := locked(t, n)
	if bytes > 16_500_000 {
		t.Errorf("%d ids take %d bytes", n, bytes)
	}
	for _, i := range []int{0, 1, n / 2, n - 1} {
		if _, ok := box.Lookup(keyOf(i)); !ok {
			t.Errorf("id %d is not known", i)
		}
	}
	if _, ok := box.Lookup(keyOf(n)); ok {
		t.Error("an unknown id is known")
	}
	keys := make([]string, 1<<16)
	for i := range keys {
		keys[i] = keyOf(i * 31 % n)
	}
	i := 0
	r := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			box.Lookup(keys[i&(len(keys)-1)])
			i++
		}
	})
	t.Logf("%d ids: %d bytes, %v", n, bytes, r)
	if r.NsPerOp() > 1000 {
		t.Errorf("a lookup takes %d ns", r.NsPerOp())
	}
}

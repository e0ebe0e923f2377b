package main

import (
	"strings"
	"testing"
)

// BenchmarkMIME has every peer do the same work on the same mails.
func BenchmarkMIME(b *testing.B) {
	small := smallMails()
	for _, p := range peers {
		b.Run("small/"+p.name, func(b *testing.B) { benchMails(b, p, small) })
	}
	for _, n := range []int{1 << 20, 25 << 20} {
		big := bigMail(n)
		for _, p := range peers {
			b.Run(big.name+"/"+p.name, func(b *testing.B) { benchMails(b, p, []sample{big}) })
		}
	}
}

func benchMails(b *testing.B, p peer, mails []sample) {
	total := 0
	for _, m := range mails {
		total += len(m.raw)
	}
	b.SetBytes(int64(total))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		for _, m := range mails {
			if _, _, err := p.read(strings.NewReader(m.raw)); err != nil {
				b.Fatal(m.name, err)
			}
		}
		i++
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(i*len(mails)), "us/mail")
}

// TestMIMEPeersDoTheSameWork: a comparison counts only if the same came out.
func TestMIMEPeersDoTheSameWork(t *testing.T) {
	for _, m := range append(smallMails(), bigMail(1<<20)) {
		leaves, n, err := readOurs(strings.NewReader(m.raw))
		if err != nil {
			t.Fatal(m.name, err)
		}
		for _, p := range peers[1:] {
			l, k, err := p.read(strings.NewReader(m.raw))
			if err != nil {
				t.Errorf("%s: %s: %v", m.name, p.name, err)
			} else if l != leaves || max(k-n, n-k) > n/10 { // line ends and such may differ
				t.Errorf("%s: %s: %d leaves, %d bytes; we have %d and %d", m.name, p.name, l, k, leaves, n)
			}
		}
	}
}

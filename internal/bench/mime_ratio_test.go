package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// A mimeGoal is what the project holds its parser to, beside go-message.
type mimeGoal struct {
	name  string
	mails []sample
	least float64
}

// mimeGoals makes its mails when it is called: the memory test's process must
// not hold them.
func mimeGoals() []mimeGoal {
	return []mimeGoal{
		{"small mix", smallMails(), 1.5},
		{"1 MiB attachment", []sample{bigMail(1 << 20)}, 2},
		{"25 MiB attachment", []sample{bigMail(25 << 20)}, 2},
	}
}

// TestMIMESpeed has the peers take turns, so that a busy machine slows all of
// them, and compares medians.
func TestMIMESpeed(t *testing.T) {
	if testing.Short() {
		t.Skip("measures time")
	}
	const rounds = 5
	for _, g := range mimeGoals() {
		bytes := 0
		for _, m := range g.mails {
			bytes += len(m.raw)
		}
		times := map[string][]time.Duration{}
		for range rounds {
			for _, p := range peers {
				n, start := 0, time.Now()
				for n == 0 || time.Since(start) < 40*time.Millisecond {
					for _, m := range g.mails {
						if _, _, err := p.read(strings.NewReader(m.raw)); err != nil {
							t.Fatal(p.name, m.name, err)
						}
					}
					n++
				}
				times[p.name] = append(times[p.name], time.Since(start)/time.Duration(n))
			}
		}
		median := func(name string) time.Duration {
			slices.Sort(times[name])
			return times[name][rounds/2]
		}
		ours := median("maildriver")
		line := fmt.Sprintf("%-18s", g.name)
		for _, p := range peers {
			m := median(p.name)
			line += fmt.Sprintf("  %s %.0f MB/s (%.2f x)", p.name, float64(bytes)/m.Seconds()/1e6, m.Seconds()/ours.Seconds())
		}
		t.Log(line)
		if ratio := median("go-message").Seconds() / ours.Seconds(); ratio < g.least {
			t.Errorf("%s: %.2f times go-message, wanted %.1f", g.name, ratio, g.least)
		}
	}
}

// TestMIMEAllocations holds the limit for each mail of the small mix.
func TestMIMEAllocations(t *testing.T) {
	mails := smallMails()
	for _, p := range peers {
		n := testing.AllocsPerRun(20, func() {
			for _, m := range mails {
				_, _, _ = p.read(strings.NewReader(m.raw))
			}
		}) / float64(len(mails))
		t.Logf("%-10s %.0f allocations a mail", p.name, n)
		if p.name == "maildriver" && n > 80 {
			t.Errorf("%.0f allocations a mail", n)
		}
	}
}

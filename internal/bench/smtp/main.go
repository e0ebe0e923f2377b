// Command smtp measures the SMTP driver beside net/smtp, both sending the same
// messages to the same server in turns, so that a change of the machine's mood
// hits both. Medians are compared.
//
//	go run ./smtp [-sink HOST:PORT] [-full] [-rounds N] [-want]
//
// The server is smtp-sink of the test lab if it is up, or the one named, or
// else one in a process of its own that only counts. The round trip of 20 ms is made by a forwarder
// in this process. -full sends 2,000 messages of 10 KB and 50 of 10 MB a round,
// as the targets say, which takes some minutes; the default is less of both.
// With -want it exits 1 where a ratio is below its target.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"time"
)

// A work is one line of the table.
type work struct {
	name         string
	least, aim   float64
	ours, theirs func() (float64, error) // seconds, or CPU seconds, for one unit
	lower        bool                    // the ratio is ours by theirs, and less is better
}

func main() {
	sink := flag.String("sink", "", "host:port of a server that takes everything; default the lab's")
	full := flag.Bool("full", false, "2,000 x 10 KB and 50 x 10 MB a round")
	rounds := flag.Int("rounds", 5, "rounds of each")
	want := flag.Bool("want", false, "exit 1 below a target")
	only := flag.String("only", "", "only the work whose name holds this")
	child := flag.Bool("serve", false, "be the server (used by the program itself)")
	flag.Parse()
	if *child {
		serve()
		return
	}
	fine, err := run(*sink, *full, *rounds, *only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if *want && !fine {
		os.Exit(1)
	}
}

func run(sink string, full bool, rounds int, only string) (fine bool, err error) {
	if sink == "" {
		s, stop, err := findSink()
		if err != nil {
			return false, err
		}
		defer stop()
		sink = s
	}
	f, err := newForwarder(sink, 10*time.Millisecond)
	if err != nil {
		return false, err
	}
	defer f.close()
	slow, fast, large := 150, 1000, 20
	if full {
		slow, fast, large = 2000, 2000, 50
	}
	small, big := message(10<<10), message(10<<20)
	table := []work{
		{
			name: "10 KB, one connection, 20 ms", least: 1.9, aim: 3.8,
			ours:   func() (float64, error) { return driverTime(f.addr(), small, slow, 1, 4) },
			theirs: func() (float64, error) { return netTime(f.addr(), small, slow) },
		},
		{
			name: "10 KB, one after the other, 20 ms", least: 1.9, aim: 1.9,
			ours:   func() (float64, error) { return driverTime(f.addr(), small, slow, 1, 1) },
			theirs: func() (float64, error) { return netTime(f.addr(), small, slow) },
		},
		{
			name: "10 KB, pool of 8, 20 ms", least: 12, aim: 20,
			ours:   func() (float64, error) { return driverTime(f.addr(), small, max(slow, 1000), 8, 24) },
			theirs: func() (float64, error) { return netTime(f.addr(), small, slow) },
		},
		{
			name: "10 KB, one connection, 0 ms", least: 1.5, aim: 2.9,
			ours:   func() (float64, error) { return driverTime(sink, small, fast, 1, 4) },
			theirs: func() (float64, error) { return netTime(sink, small, fast) },
		},
		{
			name: "CPU per MB sent, 10 MB", least: 0.4, aim: 0.25, lower: true,
			ours: func() (float64, error) {
				return cpu(func() error { _, err := driverTime(sink, big, large, 1, 1); return err })
			},
			theirs: func() (float64, error) { return cpu(func() error { _, err := netTime(sink, big, large); return err }) },
		},
	}
	fmt.Printf("%-36s %12s %12s %8s %9s %6s\n", "work (medians of "+fmt.Sprint(rounds)+")", "ours", "net/smtp", "ratio", "at least", "aim")
	fine = true
	for _, w := range table {
		if !contains(w.name, only) {
			continue
		}
		ours, theirs, err := compare(w, rounds)
		if err != nil {
			return false, fmt.Errorf("%s: %w", w.name, err)
		}
		ratio := theirs / ours
		met := ratio >= w.least
		if w.lower {
			ratio = ours / theirs
			met = ratio <= w.least
		}
		fine = fine && met
		fmt.Printf("%-36s %12s %12s %7.2fx %8.2fx %5.2fx\n", w.name, unit(ours), unit(theirs), ratio, w.least, w.aim)
	}
	return fine, nil
}

// compare lets the two take turns.
func compare(w work, rounds int) (ours, theirs float64, err error) {
	var a, b []float64
	for range rounds {
		x, err := w.ours()
		if err != nil {
			return 0, 0, err
		}
		y, err := w.theirs()
		if err != nil {
			return 0, 0, fmt.Errorf("net/smtp: %w", err)
		}
		a, b = append(a, x), append(b, y)
	}
	slices.Sort(a)
	slices.Sort(b)
	return a[len(a)/2], b[len(b)/2], nil
}

func unit(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(time.Microsecond).String()
}

package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

func main() {
	dir := flag.String("dir", "", "directory on the disk to measure; default the temporary directory")
	n := flag.Int("mails", 1000, "mails in each round")
	rounds := flag.Int("rounds", 7, "rounds of each")
	keep := flag.Bool("keep", false, "leave the files: ext4 makes new ones slowly for some minutes after many were removed")
	want := flag.Float64("want", 0, "exit 1 below this ratio")
	flag.Parse()
	ratio, err := measure(*dir, *n, *rounds, *keep)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if ratio < *want {
		fmt.Fprintf(os.Stderr, "bench: ratio %.2f is below %.2f\n", ratio, *want)
		os.Exit(1)
	}
}

// measure lets them take turns and gives how many times as fast the pipeline is as the loop that makes the same files, by
// the medians.
func measure(dir string, n, rounds int, keep bool) (float64, error) {
	// All is removed at the end, not between the rounds: see pipeline.
	top, err := os.MkdirTemp(dir, "maildriver-bench-")
	if err != nil {
		return 0, err
	}
	if !keep {
		defer func() { _ = os.RemoveAll(top) }()
	}
	spread(top)
	mails := makeMails(n)
	work := []struct {
		name string
		run  func(root string) error
		took []time.Duration
	}{
		{name: "pipeline", run: func(root string) error { return pipeline(root, mails, n) }},
		{name: "one by one, the same files", run: func(root string) error { return oneByOne(root, mails, "%d.eml", "%d.txt") }},
		{name: "one by one, raw file only", run: func(root string) error { return oneByOne(root, mails, "%d.eml") }},
	}
	for round := range rounds {
		for i := range work {
			calm()
			start := time.Now()
			if err := work[i].run(filepath.Join(top, fmt.Sprint(round, "-", i))); err != nil {
				return 0, fmt.Errorf("%s: %w", work[i].name, err)
			}
			work[i].took = append(work[i].took, time.Since(start)/time.Duration(n))
		}
	}
	median := func(i int) time.Duration { return work[i].took[rounds/2] }
	for i := range work {
		t := work[i].took
		slices.Sort(t)
		fmt.Printf("%-27s median %-8v a mail  (%v to %v, %d rounds of %d mails)  %.2f x the pipeline\n", work[i].name,
			median(i).Round(time.Microsecond), t[0].Round(time.Microsecond), t[len(t)-1].Round(time.Microsecond), rounds, n,
			float64(median(i))/float64(median(0)))
	}
	return float64(median(1)) / float64(median(0)), nil
}

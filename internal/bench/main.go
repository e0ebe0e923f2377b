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
	n := flag.Int("mails", 256, "mails in each round")
	rounds := flag.Int("rounds", 7, "rounds of each")
	want := flag.Float64("want", 0, "exit 1 below this ratio")
	flag.Parse()
	ratio, err := measure(*dir, *n, *rounds)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if ratio < *want {
		fmt.Fprintf(os.Stderr, "bench: ratio %.2f is below %.2f\n", ratio, *want)
		os.Exit(1)
	}
}

// measure lets the two take turns and gives how many times as fast the pipeline is, by the medians.
func measure(dir string, n, rounds int) (float64, error) {
	// All is removed at the end, not between the rounds: see pipeline.
	top, err := os.MkdirTemp(dir, "maildriver-bench-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(top) }()
	spread(top)
	mails := makeMails(n)
	work := []struct {
		name string
		run  func(root string) error
		took []time.Duration
	}{
		{name: "pipeline", run: func(root string) error { return pipeline(root, mails, n) }},
		{name: "one by one", run: func(root string) error { return oneByOne(root, mails) }},
	}
	for round := range rounds {
		for i := range work {
			start := time.Now()
			if err := work[i].run(filepath.Join(top, fmt.Sprint(round, "-", i))); err != nil {
				return 0, fmt.Errorf("%s: %w", work[i].name, err)
			}
			work[i].took = append(work[i].took, time.Since(start)/time.Duration(n))
		}
	}
	for i := range work {
		t := work[i].took
		slices.Sort(t)
		fmt.Printf("%-10s  median %v a mail  (%v to %v, %d rounds of %d mails)\n", work[i].name, t[len(t)/2], t[0], t[len(t)-1], rounds, n)
	}
	ratio := float64(work[1].took[rounds/2]) / float64(work[0].took[rounds/2])
	fmt.Printf("ratio       %.2f\n", ratio)
	return ratio, nil
}

// Ews compares fetching a message of 50 MB over Exchange Web Services with the
// least that must be done for it: reading the same answer and decoding it to
// disk with the standard library. The work is BenchmarkGetItem of package ews,
// which this runs and judges:
//
//	go run ./ews [-rounds 7] [-most 1.3]
//
// The exit status is 1 if ours takes longer than so many times the other, by the
// medians, or if its allocations grow with the message.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
)

// maxAllocated is what one fetch may allocate, in bytes, for 50 MB.
const maxAllocated = 2 << 20

func main() {
	rounds := flag.Int("rounds", 7, "rounds of each")
	most := flag.Float64("most", 1.3, "exit 1 above this ratio")
	flag.Parse()
	fine, err := run(*rounds, *most)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	if err != nil || !fine {
		os.Exit(1)
	}
}

var line = regexp.MustCompile(`BenchmarkGetItem/(\w+)\S*\s+\d+\s+(\d+) ns/op.*?(\d+) B/op`)

func run(rounds int, most float64) (fine bool, err error) {
	// In the main module, which may have newer dependencies than this one.
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/maildriver/maildriver").Output()
	if err != nil {
		return false, err
	}
	took := map[string][]float64{}
	var allocated float64
	// One round of both after the other, so that a load on the machine meets
	// both.
	for range rounds {
		cmd := exec.Command("go", "test", "-run", "^$", "-bench", "^BenchmarkGetItem$", "-benchtime", "3x", "./ews")
		cmd.Dir = string(bytes.TrimSpace(dir))
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return false, fmt.Errorf("%w: %s%s", err, stderr.Bytes(), out)
		}
		for _, m := range line.FindAllSubmatch(out, -1) {
			ns, _ := strconv.ParseFloat(string(m[2]), 64)
			took[string(m[1])] = append(took[string(m[1])], ns)
			if b, _ := strconv.ParseFloat(string(m[3]), 64); string(m[1]) == "ours" {
				allocated = max(allocated, b)
			}
		}
	}
	ours, least := took["ours"], took["least"]
	if len(ours) != rounds || len(least) != rounds {
		return false, fmt.Errorf("%d and %d results of %d rounds", len(ours), len(least), rounds)
	}
	slices.Sort(ours)
	slices.Sort(least)
	ratio := ours[rounds/2] / least[rounds/2]
	fmt.Printf("EWS, 50 MB  ours %.0f ms  least %.0f ms  ratio %.2f (at most %g)  allocated %.0f KiB\n", ours[rounds/2]/1e6, least[rounds/2]/1e6, ratio, most, allocated/1024)
	return ratio <= most && allocated <= maxAllocated, nil
}

// Command imap measures the IMAP and POP3 drivers beside imapclient and
// go-pop3, all taking the same mails from the lab's Dovecot in turns, so that a
// change of the machine's mood hits both. Medians are compared.
//
//	go run . [-rounds N] [-full] [-only NAME] [-want]
//
// The drivers make files of the parts of a mail; a peer does so too, with go-message, in one turn, and only saves the raw
// mail in another. Targets are for the same files. The round trip of 20 ms is made by a forwarder in this process. With -want it
// exits 1 where a ratio is below its target.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const user, password = "u35", "u35-secret"

// A work is one line of the table.
type work struct {
	name       string
	least, aim float64
	size       int
	ours       int // mails a round
	theirs     int
	run        func(dir string, n int) error
	peer       func(dir string, n int, same bool) error
}

func main() {
	rounds := flag.Int("rounds", 5, "rounds of each")
	full := flag.Bool("full", false, "more mails a round")
	only := flag.String("only", "", "only the work whose name holds this")
	want := flag.Bool("want", false, "exit 1 below a target")
	flag.Parse()
	fine, err := measure(*rounds, *full, *only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if *want && !fine {
		os.Exit(1)
	}
}

func measure(rounds int, full bool, only string) (fine bool, err error) {
	lab, err := findLab()
	if err != nil {
		return false, err
	}
	far, err := newForwarder(lab["LAB_IMAP"], 10*time.Millisecond)
	if err != nil {
		return false, err
	}
	defer far.close()
	farPOP, err := newForwarder(lab["LAB_POP3"], 10*time.Millisecond)
	if err != nil {
		return false, err
	}
	defer farPOP.close()
	many, few, big := 1000, 60, 10
	if full {
		many, few, big = 4000, 200, 30
	}
	works := []work{
		{"IMAP, 10 KB, 20 ms", 25, 60, 10 << 10, many, few, func(d string, n int) error { return oursIMAP(far.addr(), d, n) }, func(d string, n int, same bool) error { return oneByOne(far.addr(), d, n, false, same) }},
		{"POP3, 10 KB, 20 ms", 30, 35, 10 << 10, many, few, func(d string, n int) error { return oursPOP3(farPOP.addr(), d, n) }, func(d string, n int, same bool) error { return onePOP3(farPOP.addr(), d, n, same) }},
		{"IMAP, 10 KB, durable", 1.7, 2.9, 10 << 10, many, many, func(d string, n int) error { return oursIMAP(lab["LAB_IMAP"], d, n) }, func(d string, n int, same bool) error { return oneByOne(lab["LAB_IMAP"], d, n, true, same) }},
		{"IMAP, 10 MB", 0.9, 0, 10 << 20, big, big, func(d string, n int) error { return oursIMAP(lab["LAB_IMAP"], d, n) }, func(d string, n int, same bool) error { return batches(lab["LAB_IMAP"], d, n, same) }},
		{"POP3, 10 MB", 1.8, 0, 10 << 20, big, big, func(d string, n int) error { return oursPOP3(lab["LAB_POP3"], d, n) }, func(d string, n int, same bool) error { return onePOP3(lab["LAB_POP3"], d, n, same) }},
	}
	fine = true
	top, err := os.MkdirTemp("", "maildriver-bench-")
	if err != nil {
		return false, err
	}
	// All is removed at the end, not between the rounds: see spread.
	defer func() { _ = os.RemoveAll(top) }()
	spread(top)
	for _, w := range works {
		if !strings.Contains(w.name, only) {
			continue
		}
		mail := makeMail(w.size)
		turns := []struct {
			run  func(string, int) error
			n    int
			took []float64
		}{
			{run: w.run, n: w.ours},
			{run: func(d string, n int) error { return w.peer(d, n, true) }, n: w.theirs},
			{run: func(d string, n int) error { return w.peer(d, n, false) }, n: w.theirs},
		}
		for round := range rounds {
			for i := range turns {
				x := &turns[i]
				if err := fill(lab["LAB_IMAP"], mail, x.n); err != nil {
					return false, err
				}
				dir := filepath.Join(top, fmt.Sprintf("%s %d %d", w.name, round, i))
				if err := os.MkdirAll(dir, 0o700); err != nil {
					return false, err
				}
				start := time.Now()
				if err := x.run(dir, x.n); err != nil {
					return false, fmt.Errorf("%s: %w", w.name, err)
				}
				x.took = append(x.took, time.Since(start).Seconds()/float64(x.n))
			}
		}
		median := func(i int) float64 {
			slices.Sort(turns[i].took)
			return turns[i].took[rounds/2]
		}
		ratio := median(1) / median(0)
		fmt.Printf("%-22s  ours %7.1f mails/s  peer with the same files %7.1f, ratio %5.2f  peer with the raw file %7.1f, ratio %5.2f  (least %g, aim %g)\n",
			w.name, 1/median(0), 1/median(1), ratio, 1/median(2), median(2)/median(0), w.least, w.aim)
		fine = fine && ratio >= w.least
	}
	return fine, nil
}

// makeMail makes a mail: of plain text, or from 1 MB on with one attachment.
func makeMail(size int) []byte {
	var b bytes.Buffer
	b.WriteString("From: Ann <ann@example.com>\r\nTo: desk@example.com\r\nSubject: bench\r\nMessage-ID: <bench@example.com>\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\n")
	line, end := strings.Repeat("lorem ipsum ", 6)+"\r\n", ""
	if size < 1<<20 {
		b.WriteString("Content-Type: text/plain; charset=utf-8\r\n\r\n")
	} else {
		b.WriteString("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n" +
			"--b\r\nContent-Type: application/octet-stream; name=\"a.bin\"\r\nContent-Transfer-Encoding: base64\r\n\r\n")
		line, end = strings.Repeat("QUJD", 19)+"\r\n", "--b--\r\n"
	}
	for b.Len() < size-len(line)-len(end) {
		b.WriteString(line)
	}
	b.WriteString(end)
	return b.Bytes()
}

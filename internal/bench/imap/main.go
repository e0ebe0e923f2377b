// Command imap measures the IMAP and POP3 drivers beside imapclient and
// go-pop3, all taking the same mails from the lab's Dovecot in turns, so that a
// change of the machine's mood hits both. Medians are compared.
//
//	go run . [-rounds N] [-full] [-only NAME] [-want]
//
// The round trip of 20 ms is made by a forwarder in this process. With -want it
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

const user, password = "u18", "u18-secret"

// A work is one line of the table.
type work struct {
	name       string
	least, aim float64
	size       int
	ours       int // mails a round
	theirs     int
	run, peer  func(dir string, n int) error
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
	many, few, big := 500, 25, 10
	if full {
		many, few, big = 2000, 100, 30
	}
	works := []work{
		{"IMAP, 10 KB, 20 ms", 25, 60, 10 << 10, many, few, func(d string, n int) error { return oursIMAP(far.addr(), d, n) }, func(d string, n int) error { return oneByOne(far.addr(), d, n, false) }},
		{"POP3, 10 KB, 20 ms", 30, 35, 10 << 10, many, few, func(d string, n int) error { return oursPOP3(farPOP.addr(), d, n) }, func(d string, n int) error { return onePOP3(farPOP.addr(), d, n) }},
		{"IMAP, 10 KB, durable", 1.7, 2.9, 10 << 10, many, many, func(d string, n int) error { return oursIMAP(lab["LAB_IMAP"], d, n) }, func(d string, n int) error { return oneByOne(lab["LAB_IMAP"], d, n, true) }},
		{"IMAP, 10 MB", 0.9, 0, 10 << 20, big, big, func(d string, n int) error { return oursIMAP(lab["LAB_IMAP"], d, n) }, func(d string, n int) error { return batches(lab["LAB_IMAP"], d, n) }},
		{"POP3, 10 MB", 1.8, 0, 10 << 20, big, big, func(d string, n int) error { return oursPOP3(lab["LAB_POP3"], d, n) }, func(d string, n int) error { return onePOP3(lab["LAB_POP3"], d, n) }},
	}
	fine = true
	top, err := os.MkdirTemp("", "maildriver-bench-")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.RemoveAll(top) }()
	for _, w := range works {
		if !strings.Contains(w.name, only) {
			continue
		}
		var a, b []float64
		mail := makeMail(w.size)
		for round := range rounds {
			for _, x := range []struct {
				run  func(string, int) error
				n    int
				took *[]float64
			}{{w.run, w.ours, &a}, {w.peer, w.theirs, &b}} {
				if err := fill(lab["LAB_IMAP"], mail, x.n); err != nil {
					return false, err
				}
				dir := filepath.Join(top, fmt.Sprint(w.name, round, x.n, len(a)))
				if err := os.MkdirAll(dir, 0o700); err != nil {
					return false, err
				}
				start := time.Now()
				if err := x.run(dir, x.n); err != nil {
					return false, fmt.Errorf("%s: %w", w.name, err)
				}
				*x.took = append(*x.took, time.Since(start).Seconds()/float64(x.n))
				_ = os.RemoveAll(dir)
			}
		}
		slices.Sort(a)
		slices.Sort(b)
		ratio := b[len(b)/2] / a[len(a)/2]
		fmt.Printf("%-22s  ours %7.1f mails/s  peer %7.1f mails/s  ratio %5.2f (least %g, aim %g)\n", w.name, 1/a[len(a)/2], 1/b[len(b)/2], ratio, w.least, w.aim)
		fine = fine && ratio >= w.least
	}
	return fine, nil
}

// makeMail makes a mail with one attachment.
func makeMail(size int) []byte {
	var b bytes.Buffer
	b.WriteString("From: ann@example.com\r\nTo: desk@example.com\r\nSubject: bench\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
		"--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b\r\nContent-Type: application/octet-stream; name=\"a.bin\"\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	line := strings.Repeat("QUJD", 19) + "\r\n"
	for b.Len() < size-10 {
		b.WriteString(line)
	}
	b.WriteString("--b--\r\n")
	return b.Bytes()
}

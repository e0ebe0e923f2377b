package killtest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Mail makes a mail with an attachment of so many lines, and with a line that
// POP3 and SMTP must stuff. It gives its hash, too, as an [Entry] has it.
func Mail(subject string, lines int) (raw []byte, sum string) {
	raw = []byte("From: ann@example.com\r\nTo: desk@example.com\r\nSubject: " + subject + "\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nhello " + subject + "\r\n.\r\n" +
		"--b\r\nContent-Type: application/pdf; name=\"a.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
		strings.Repeat("aGVsbG8gd29ybGQsIGhlbGxvIHdvcmxkLCBoZWxsbyB3b3JsZAo=\r\n", lines) + "--b--\r\n")
	h := sha256.Sum256(raw)
	return raw, hex.EncodeToString(h[:])
}

// Mails makes n mails of several sizes and the map that [Check] wants.
func Mails(n int) (raw [][]byte, sums map[string]string) {
	sums = map[string]string{}
	for i := range n {
		subject := fmt.Sprintf("mail-%03d", i+1)
		m, sum := Mail(subject, i%7*10)
		raw, sums[subject] = append(raw, m), sum
	}
	return raw, sums
}

// A Siege kills a poller with SIGKILL again and again.
type Siege struct {
	Job   Job // Root and Journal are filled in
	Sums  map[string]string
	Kills int
	// Choose sets where the next child dies: a point, or a number of steps.
	Choose func(r *rand.Rand, round int, j *Job)
	// Ends lets it end once the handler has seen every mail; then half the kills
	// will do. Without it, a poller that comes to its end is started again.
	Ends bool
	// Keeps says that the mails stay on the server, so their records stay, too.
	Keeps bool
}

// Run kills, then lets the poller come to its end and holds the journal of the
// handler against the promise: every mail handed over, at most one repeat a
// kill, all marked, with the same files, and no stray file. It gives the
// number of repeats.
func (s Siege) Run(t *testing.T) (repeats int) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // no secret depends on it
	var log []string
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d, killed: %s", seed, strings.Join(log, "\n"))
		}
	})
	dir := t.TempDir()
	s.Job.Root, s.Job.Journal = filepath.Join(dir, "spool"), filepath.Join(dir, "journal")
	killed, early := 0, 0
	for round := 0; killed < s.Kills && !(s.Ends && s.allHanded(t)); round++ {
		j := s.Job
		s.Choose(r, round, &j)
		c := Start(t, j)
		at := c.Stopped()
		if at == "" {
			if early++; early >= 20*s.Kills {
				t.Fatalf("the poller was killed %d times only", killed)
			}
			continue
		}
		c.Kill()
		killed++
		log = append(log, fmt.Sprintf("at %q (%q, %d)", at, j.Point, j.Nth))
	}
	if killed < s.Kills/2 {
		t.Fatalf("the poller was killed %d times only", killed)
	}
	Start(t, s.Job).Done()
	entries := ReadJournal(t, s.Job.Journal)
	if repeats = Check(t, entries, s.Sums); repeats > killed {
		t.Errorf("%d repeats by %d kills", repeats, killed)
	}
	t.Logf("%d mails, %d hand-overs, %d repeats, %d kills", len(s.Sums), len(entries), repeats, killed)
	if !s.Keeps {
		CheckFiles(t, s.Job.Root, entries)
		return repeats
	}
	records, err := filepath.Glob(filepath.Join(s.Job.Root, "Previous_*"))
	if err != nil || len(records) != 1 {
		t.Errorf("the records are in %v (%v), want one file", records, err)
	}
	return repeats
}

// allHanded reports whether the handler has seen every mail.
func (s Siege) allHanded(t *testing.T) bool {
	t.Helper()
	seen := map[string]bool{}
	for _, e := range ReadJournal(t, s.Job.Journal) {
		seen[e.Subject] = true
	}
	return len(seen) == len(s.Sums)
}

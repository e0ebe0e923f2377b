package killtest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/maildriver/maildriver/driver"
)

// An Entry is what the handler saw of one hand-over.
type Entry struct {
	PID         int
	ID          string
	Subject     string
	Redelivered bool
	Attempt     int
	Raw         string   // path of the raw file
	RawSum      string   // SHA-256 of its bytes
	Files       []string // paths
	Sums        []string // SHA-256 of the files, in their order
}

// journal is the child's end. One write a line: a line is there or it is not.
type journal struct{ f *os.File }

func openJournal(path string) (*journal, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_SYNC, 0o600)
	if err != nil {
		return nil, err
	}
	return &journal{f}, nil
}

func (j *journal) note(ev *driver.Event) error {
	e := Entry{PID: os.Getpid(), ID: ev.ID, Subject: ev.Subject, Redelivered: ev.Redelivered, Attempt: ev.Attempt, Raw: ev.RawFile}
	var err error
	if e.RawSum, err = sumFile(ev.RawFile); err != nil {
		return err
	}
	for _, f := range ev.Files {
		sum, err := sumFile(f.Path)
		if err != nil {
			return err
		}
		e.Files, e.Sums = append(e.Files, f.Path), append(e.Sums, sum)
	}
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = j.f.Write(append(line, '\n'))
	return err
}

func sumFile(path string) (string, error) {
	f, err := os.Open(path) //nolint:gosec // a path of our own spool
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// ReadJournal gives all entries; a missing journal has none.
func ReadJournal(t testing.TB, path string) []Entry {
	t.Helper()
	b, err := os.ReadFile(path) //nolint:gosec // a path of our own
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var list []Entry
	for line := range strings.Lines(string(b)) {
		var e Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("journal: %v in %q", err, line)
		}
		list = append(list, e)
	}
	return list
}

func (e Entry) String() string {
	return fmt.Sprintf("%s (process %d, attempt %d, redelivered %v)", e.Subject, e.PID, e.Attempt, e.Redelivered)
}

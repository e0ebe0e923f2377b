package killtest

import (
	"io/fs"
	"path/filepath"
	"slices"
	"testing"
)

// Check holds the journal against the promise: every mail was handed over,
// all hand-overs of a mail are one event with the same bytes and files, each
// but the first marked, and no process offered more than one mail again. It
// gives the number of repeats.
//
// mails maps subjects to the SHA-256 of the raw mails.
func Check(t testing.TB, entries []Entry, mails map[string]string) (repeats int) {
	t.Helper()
	first := map[string]Entry{}
	byPID := map[int]int{}
	for _, e := range entries {
		want, known := mails[e.Subject]
		switch {
		case !known:
			t.Errorf("%v: nobody sent this mail", e)
		case e.RawSum != want:
			t.Errorf("%v: the raw file has other bytes than the mail", e)
		}
		if e.Redelivered {
			byPID[e.PID]++
		}
		f, again := first[e.Subject]
		if !again {
			first[e.Subject] = e
			continue
		}
		repeats++
		switch {
		case f.ID != e.ID:
			t.Errorf("%v: came as another event than %v", e, f)
		case !e.Redelivered:
			t.Errorf("%v: not marked, and handed over before: %v", e, f)
		case e.PID == f.PID:
			t.Errorf("%v: twice in one process", e)
		case e.Raw != f.Raw || !slices.Equal(e.Files, f.Files) || !slices.Equal(e.Sums, f.Sums):
			t.Errorf("%v: has other files than %v", e, f)
		}
	}
	for pid, n := range byPID {
		if n > 1 {
			t.Errorf("process %d offered %d mails again, want 1 at most", pid, n)
		}
	}
	for subject := range mails {
		if _, ok := first[subject]; !ok {
			t.Errorf("%s was never handed over", subject)
		}
	}
	return repeats
}

// CheckFiles holds the spool against the journal, once a run has come to its
// end: the files of the mails that were handed over are there, and nothing
// else is.
func CheckFiles(t testing.TB, root string, entries []Entry) {
	t.Helper()
	owned := map[string]Entry{} // the latest hand-over
	for _, e := range entries {
		for _, f := range e.Files {
			owned[f] = e
		}
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || d.IsDir():
		case owned[path].ID != "":
			delete(owned, path)
		default:
			t.Errorf("a stray file: %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for f, e := range owned {
		t.Errorf("%v: a file of a mail that was taken is gone: %s", e, f)
		for _, other := range entries {
			if other.Subject == e.Subject {
				t.Logf("handed over: %v %s %q", other, filepath.Base(other.Raw), other.Files)
			}
		}
	}
}

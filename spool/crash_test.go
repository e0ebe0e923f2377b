//go:build !plan9

package spool

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// session plays whole sessions with a server of three mails: a and c are taken, b is rejected. It writes down what the
// host took, as a real host would.
type session struct {
	server map[string]bool
	took   map[string][]string // the attachment of each taking, by key
}

func newSession() *session {
	return &session{server: map[string]bool{"a": true, "b": true, "c": true}, took: map[string][]string{}}
}

// hosts gives the files that are the host's: a repeat must have brought the same ones.
func (p *session) hosts(t *testing.T, when string) []string {
	var list []string
	for key, files := range p.took {
		require.LessOrEqual(t, len(files), 2, "%s: mail %s", when, key)
		require.Len(t, slices.Compact(files), 1, "%s: a repeat of %s offers the same files", when, key)
		list = append(list, "incoming/"+files[0])
	}
	slices.Sort(list)
	return list
}

func (p *session) play(s *Spool) error {
	box, err := s.Lock(testID)
	if err != nil {
		return err
	}
	if err := p.run(s, box); err != nil {
		return errors.Join(err, box.Unlock())
	}
	return box.Unlock()
}

func (p *session) run(s *Spool, box *Mailbox) error {
	svc := s.NewService(1)
	if err := box.Begin(svc); err != nil {
		return err
	}
	for i, key := range []string{"a", "b", "c"} {
		rec, known := box.Lookup(key)
		if !p.server[key] || known && rec.State == StateDone {
			continue
		}
		there, err := box.FilesPresent(rec)
		if err != nil {
			return err
		}
		if !known || !there {
			if rec, err = makeRaw(s, svc, key, uint64(i+1)); err != nil {
				return err
			}
		}
		if err := box.Append(Entered(rec)); err != nil {
			return err
		}
		if key == "b" {
			files := rec.Files
			rec.Files = nil
			if err := box.Append(DoneRecord(rec, OutcomeFailed, DisposeFailed, "poison")); err != nil {
				return err
			}
			if err := s.WriteReason(Failed, rec.Raw, "poison"); err != nil {
				return err
			}
			if _, err := s.Move(Incoming, rec.Raw, Failed); err != nil {
				return err
			}
			if err := s.RemoveFile(Incoming, files[0]); err != nil {
				return err
			}
			continue
		}
		p.took[key] = append(p.took[key], rec.Files[0])
		if err := box.Append(Done(key, OutcomeDelivered, DisposeDelete, "")); err != nil {
			return err
		}
		if err := s.RemoveFile(Incoming, rec.Raw); err != nil {
			return err
		}
	}
	clear(p.server) // QUIT, confirmed
	return box.Prune(keepNone)
}

// TestF26ToF32KilledAtEveryOperation kills a session before every single disk operation, the sessions that clean up after
// it too, and looks at the promises: what the host took is there, every mail ends in one place, nothing else is left.
func TestF26ToF32KilledAtEveryOperation(t *testing.T) {
	total := 0
	for n := 1; ; n++ {
		root := fastRoot(t)
		p := newSession()
		disk := newFaultFS()
		disk.killAt = n
		err := p.play(newSpool(t, root, WithFS(disk)))
		if err == nil {
			break
		}
		require.ErrorIs(t, err, errKilled)
		again := newFaultFS()
		again.killAt = 1 + n*7%60 // the session after it dies as well
		_ = p.play(newSpool(t, root, WithFS(again)))
		s := newSpool(t, root)
		when := fmt.Sprintf("F26-F32: killed at operation %d and %d", n, again.killAt)
		require.NoError(t, p.play(s), "%s: I8", when)
		total = n

		require.Len(t, p.took, 2, "%s: I1", when)
		failed := 0
		got := slices.DeleteFunc(tree(t, root), func(f string) bool {
			if strings.HasPrefix(f, "failed/POP3_") {
				failed++
				return true
			}
			return false
		})
		require.Equal(t, p.hosts(t, when), got, "%s: no stray and no lost file", when)
		require.Equal(t, 2, failed, "%s: mail b and its reason", when)
	}
	require.Greater(t, total, 80, "the test must have reached the operations")
}

// TestF32MergeIsIdempotent kills the replay before each operation: what is known afterwards is always the same.
func TestF32MergeIsIdempotent(t *testing.T) {
	prepare := func(t *testing.T) string {
		root := fastRoot(t)
		s := newSpool(t, root)
		box := mustLock(t, s)
		for i := range 20 {
			require.NoError(t, box.Append(Done(fmt.Sprintf("old%d", i), OutcomeDelivered, DisposeKeep, "")))
		}
		require.NoError(t, box.Append(Refused("old-refused", time.Unix(5000, 0))))
		require.NoError(t, box.Prune(nil))
		svc := s.NewService(1)
		require.NoError(t, box.Begin(svc))
		require.NoError(t, box.Append(Entered(mustRaw(t, s, svc, "new", 1)), Gone("old-refused"), Done("old3", OutcomeFailed, DisposeKeep, "x")))
		mustRaw(t, s, svc, "stray", 2)
		closeLikeAKill(t, box)
		return root
	}
	facts := func(t *testing.T, box *Mailbox) map[string]string {
		m := map[string]string{}
		for r := range box.Records() {
			m[r.Key] = fmt.Sprint(r.State, r.Attempts, r.Outcome, present(t, box, r))
		}
		return m
	}
	root := prepare(t)
	s := newSpool(t, root)
	box := mustLock(t, s)
	want := facts(t, box)
	require.Len(t, want, 21)
	require.Len(t, tree(t, root+"/incoming"), 2, "the stray is swept")
	for n := 1; ; n++ {
		root := prepare(t)
		disk := newFaultFS()
		disk.killAt = n
		killed, err := newSpool(t, root, WithFS(disk)).Lock(testID)
		if err == nil {
			_ = killed.Unlock() // perhaps killed in this
			require.Greater(t, n, 20)
			break
		}
		s := newSpool(t, root)
		box := mustLock(t, s)
		require.Equal(t, want, facts(t, box), "F32: operation %d", n)
		require.Empty(t, box.Warnings(), "F32: operation %d", n)
		require.Len(t, tree(t, root+"/incoming"), 2+probes(t, root), "F32: operation %d", n)
		require.NoError(t, box.Unlock())
	}
}

func probes(t *testing.T, root string) int {
	n := 0
	for _, f := range tree(t, root+"/incoming") {
		if isProbe(f) {
			n++
		}
	}
	return n
}

// TestF35F36EveryOperationFailsOnce lets each operation fail alone: the session ends with an error that says what and
// where, and the next one finds everything.
func TestF35F36EveryOperationFailsOnce(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EIO, syscall.EMFILE} {
		for n := 1; ; n++ {
			root := fastRoot(t)
			p := newSession()
			disk := newFaultFS()
			hit := false
			disk.fail = func(op, name string) error {
				if disk.n != n {
					return nil
				}
				hit = true
				return fmt.Errorf("%w: %w", errFault, cause)
			}
			err := p.play(newSpool(t, root, WithFS(disk)))
			if !hit {
				break
			}
			if err != nil {
				require.ErrorIs(t, err, cause, "F35/F36: operation %d", n)
			}
			s := newSpool(t, root)
			when := fmt.Sprintf("F35/F36: %v at operation %d, then: %v", cause, n, err)
			require.NoError(t, p.play(s), when)
			_, err = s.Sweep(false)
			require.NoError(t, err, when)
			require.Len(t, p.took, 2, "%s: I1", when)
			got := slices.DeleteFunc(tree(t, root), func(f string) bool {
				return strings.HasPrefix(f, "failed/POP3_") || strings.Contains(f, ".corrupt-")
			})
			require.Equal(t, p.hosts(t, when), got, when)
		}
	}
}

func TestF36FailedSyncIsFinal(t *testing.T) {
	disk := newFaultFS()
	s := newSpool(t, tempRoot(t), WithFS(disk))
	box := mustLock(t, s)
	svc := s.NewService(1)
	require.NoError(t, box.Begin(svc))
	disk.fail = func(op, name string) error {
		if op == "sync" {
			return syscall.EIO
		}
		return nil
	}
	raw, err := s.CreateIncoming(svc, "POP3", 1)
	require.NoError(t, err)
	err = raw.Commit()
	require.ErrorIs(t, err, syscall.EIO)
	var fe *FileError
	require.ErrorAs(t, err, &fe)
	assert.Equal(t, "sync", fe.Op)
	assert.Contains(t, fe.Path, raw.Name())
	require.Error(t, box.Append(Done("k", OutcomeDelivered, DisposeKeep, "")))
	disk.fail = nil
	require.ErrorIs(t, raw.Commit(), syscall.EIO, "F36: no second try")
	assert.NoFileExists(t, raw.Path()+".part")
	assert.NoFileExists(t, raw.Path())
	require.ErrorIs(t, box.Append(Done("k2", OutcomeDelivered, DisposeKeep, "")), ErrPoisoned)
	require.ErrorIs(t, box.Prune(keepNone), ErrPoisoned)
	_, ok := box.Lookup("k")
	assert.False(t, ok, "F36: not on disk, not known")
	require.Error(t, box.Unlock())
	mustLock(t, s)
}

func TestOneAppendIsOneWriteAndOneSync(t *testing.T) {
	disk := newFaultFS()
	s := newSpool(t, tempRoot(t), WithFS(disk))
	box := mustLock(t, s)
	require.NoError(t, box.Append(Done("warm-up", OutcomeDelivered, DisposeKeep, "")))
	disk.count = map[string]int{}
	require.NoError(t, box.Append(Done("a", OutcomeDelivered, DisposeKeep, ""), Entered(Record{Key: "b"}), Gone("c")))
	assert.Equal(t, map[string]int{"same": 1, "write": 1, "sync": 1}, disk.count)
}

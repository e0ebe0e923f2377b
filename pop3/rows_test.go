package pop3_test

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/pop3"
	"github.com/maildriver/maildriver/pop3/pop3test"
	"github.com/maildriver/maildriver/spool"
)

// The rows of the fault matrix, each through the whole way from the server to
// the handler. A bench keeps the ledger: what the server promised and what the
// handler took.
type bench struct {
	t      *testing.T
	number string // of the row, in every message
	srv    *pop3test.Server
	root   string
	driver *pop3.Driver
	took   map[string]int // by subject
	marked map[string]int // of these, marked as redelivered
	files  []string       // the host's
}

func newBench(t *testing.T, number string, fake []pop3test.Option, opts ...driver.Option) *bench {
	t.Helper()
	b := &bench{t: t, number: number, srv: pop3test.NewServer(fake...), root: filepath.Join(t.TempDir(), "spool"), took: map[string]int{}, marked: map[string]int{}}
	t.Cleanup(b.srv.Close)
	b.driver = b.newDriver(opts...)
	return b
}

func (b *bench) newDriver(opts ...driver.Option) *pop3.Driver {
	b.t.Helper()
	sp, err := spool.New(b.root)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = sp.Close() })
	d, err := pop3.New(b.srv.Addr, append([]driver.Option{
		driver.WithLogin(pop3test.User, pop3test.Password), driver.WithInsecureAuth(), driver.WithSpool(sp),
		driver.WithTimeout(10 * time.Second), driver.WithRetry(0, 0), driver.WithDeleteProcessed(true),
	}, opts...)...)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { assert.NoError(b.t, d.Close()) })
	return d
}

func (b *bench) add(subjects ...string) {
	for _, s := range subjects {
		b.srv.AddText("From: a@example.com\nSubject: " + s + "\n\nhello " + s + "\n")
	}
}

func (b *bench) handle(_ context.Context, ev *driver.Event) error {
	assert.NotContains(b.t, b.took, ev.Subject, "%s: an unmarked twin, or one of a mail that was taken", b.number)
	b.took[ev.Subject]++
	if ev.Redelivered {
		b.marked[ev.Subject]++
	}
	for _, f := range ev.Files {
		b.files = append(b.files, f.Path)
	}
	return nil
}

func (b *bench) poll(opts ...driver.Option) (driver.PollResult, error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	return b.driver.Poll(ctx, driver.HandlerFunc(b.handle), opts...)
}

// heal ends all faults, polls until there is no more and holds the ledger
// against what was sent: all of it taken, once, and nothing left anywhere.
func (b *bench) heal(subjects ...string) {
	b.t.Helper()
	b.srv.ClearScript()
	for more := true; more; {
		res, err := b.poll()
		require.NoError(b.t, err, "%s: on the healthy server", b.number)
		more = res.More || res.Waiting > 0
	}
	var took []string
	for s := range b.took {
		took = append(took, s)
	}
	assert.ElementsMatch(b.t, subjects, took, "%s: mails that the handler took", b.number)
	assert.Empty(b.t, b.srv.Messages(), "%s: mails left on the server", b.number)
	b.noStrays()
}

func (b *bench) noStrays() {
	b.t.Helper()
	assert.NoError(b.t, filepath.WalkDir(b.root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			assert.True(b.t, slices.Contains(b.files, path), "%s: a stray file: %s", b.number, path)
		}
		return err
	}))
}

var steps = []pop3test.Step{
	pop3test.StepGreeting, pop3test.StepCapa, pop3test.StepUser, pop3test.StepPass, pop3test.StepStat,
	pop3test.StepList, pop3test.StepUIDL, pop3test.StepRetr, pop3test.StepDele, pop3test.StepQuit,
}

// TestF03DropAtEveryStep loses the connection at each step in every way.
func TestF03DropAtEveryStep(t *testing.T) {
	for _, step := range steps {
		for how, action := range map[string]pop3test.Action{
			"drop": pop3test.Drop(), "reset": pop3test.Reset(), "reply lost": pop3test.DropReply(), "drop after the reply": pop3test.DropAfter(),
		} {
			t.Run(string(step)+" "+how, func(t *testing.T) {
				t.Parallel()
				b := newBench(t, "F03", nil)
				b.add("one", "two")
				b.srv.Script(pop3test.Rule{At: step, Do: action})
				_, err := b.poll()
				harmless := step == pop3test.StepQuit && how == "drop after the reply"
				if harmless {
					require.NoError(t, err, "F03")
				} else {
					assert.Equal(t, driver.KindTemporary, driver.KindOf(err), "F03: %v", err)
					var de *driver.Error
					require.ErrorAs(t, err, &de, "F03")
					assert.NotEmpty(t, de.Op, "F03: the error names the step")
					assert.Contains(t, err.Error(), b.srv.Addr, "F03: the error names the server")
				}
				b.heal("one", "two")
			})
		}
	}
}

// TestF04BodyCut loses the connection in the middle of a mail.
func TestF04BodyCut(t *testing.T) {
	for _, n := range []int64{0, 5, 20, 30, 60} {
		b := newBench(t, "F04", nil)
		b.add("one", "two")
		b.srv.Script(pop3test.Rule{At: pop3test.StepRetr, Message: 2, Do: pop3test.Cut(n)})
		_, err := b.poll()
		assert.Equal(t, driver.KindTemporary, driver.KindOf(err), "F04: %v", err)
		assert.Equal(t, map[string]int{"one": 1}, b.took, "F04: cut after %d bytes", n)
		b.heal("one", "two")
	}
}

// TestF07F08F09EndOfSession is about what is known when a session ends badly.
func TestF07F08F09EndOfSession(t *testing.T) {
	for _, c := range []struct {
		number, what string
		do           pop3test.Action
		at           pop3test.Step
		left, known  int // after the session, and of these in the next one
	}{
		{"F07", "lost before QUIT", pop3test.Drop(), pop3test.StepQuit, 2, 2},
		{"F07", "lost at DELE", pop3test.Drop(), pop3test.StepDele, 2, 2},
		{"F08", "reply to QUIT lost", pop3test.DropReply(), pop3test.StepQuit, 0, 0},
		{"F08", "reply to QUIT cut", pop3test.Cut(2), pop3test.StepQuit, 0, 0},
		{"F09", "QUIT refused", pop3test.KeepOnQuit(), pop3test.StepQuit, 2, 2},
	} {
		t.Run(c.number+" "+c.what, func(t *testing.T) {
			b := newBench(t, c.number, nil)
			b.add("one", "two")
			b.srv.Script(pop3test.Rule{At: c.at, Do: c.do})
			_, err := b.poll()
			require.Error(t, err, c.number)
			assert.Len(t, b.took, 2, c.number)
			assert.Len(t, b.srv.Messages(), c.left, c.number)
			b.srv.ClearScript()
			b.add("three")
			res, err := b.poll()
			require.NoError(t, err, c.number)
			assert.Equal(t, c.known, res.Known, "%s: mails that are only removed", c.number)
			assert.Equal(t, 1, res.Delivered, c.number)
			b.heal("one", "two", "three")
			if c.number == "F09" {
				for _, r := range b.srv.Ledger()[:2] {
					assert.Equal(t, 2, r.Marked, "F09: deleted again in the next session")
				}
			}
		})
	}
}

// TestF14F15F16OddIDs: servers whose ids cannot be trusted.
func TestF14F15F16OddIDs(t *testing.T) {
	t.Run("F14 an id used again", func(t *testing.T) {
		b := newBench(t, "F14", nil, driver.WithLeaveOnServer(true))
		b.srv.AddMail(pop3test.Mail{UIDL: "same", Raw: []byte("Subject: old\r\n\r\nshort\r\n")})
		_, err := b.poll()
		require.NoError(t, err)
		b.srv.Vanish("same")
		b.srv.AddMail(pop3test.Mail{UIDL: "same", Raw: []byte("Subject: new\r\n\r\nanother mail, and longer\r\n")})
		b.healWith(driver.WithLeaveOnServer(false), "old", "new")
	})
	t.Run("F15 one id for two mails", func(t *testing.T) {
		b := newBench(t, "F15", nil)
		b.srv.AddMail(pop3test.Mail{UIDL: "same", Raw: []byte("Subject: one\r\n\r\n1\r\n")})
		b.srv.AddMail(pop3test.Mail{UIDL: "same", Raw: []byte("Subject: two\r\n\r\n2\r\n")})
		b.heal("one", "two")
	})
	t.Run("F16 no UIDL, the session lost at the end", func(t *testing.T) {
		b := newBench(t, "F16", []pop3test.Option{pop3test.WithoutUIDL()})
		b.add("one", "two")
		b.srv.Script(pop3test.Rule{At: pop3test.StepQuit, Do: pop3test.Drop()})
		_, err := b.poll()
		require.Error(t, err, "F16")
		b.heal("one", "two")
	})
}

// healWith is heal with an option for the polls.
func (b *bench) healWith(opt driver.Option, subjects ...string) {
	b.t.Helper()
	_, err := b.poll(opt)
	require.NoError(b.t, err, b.number)
	b.heal(subjects...)
}

// TestF17SizesLie: what LIST says decides nothing.
func TestF17SizesLie(t *testing.T) {
	b := newBench(t, "F17", nil)
	var subjects []string
	for _, size := range []string{"0", "1", "-5", "99999999999999999999", "4294967296", "word", ""} {
		s := fmt.Sprintf("size %q", size)
		subjects = append(subjects, s)
		b.srv.AddMail(pop3test.Mail{Raw: []byte("Subject: " + s + "\r\n\r\nhello\r\n"), ListSize: size})
	}
	b.heal(subjects...)
}

// TestF19Garbage answers each command with something that is no answer.
func TestF19Garbage(t *testing.T) {
	for _, step := range steps {
		for what, text := range map[string]string{
			"words": "what?", "NUL": "+OK\x00\x00", "8 bit": "\xff\xfe\xfd", "64 KB": strings.Repeat("x", 64<<10),
			"blank": "\r\n", "IMAP": "* BYE going down", "SMTP": "421 4.3.2 closing",
		} {
			t.Run(string(step)+" "+what, func(t *testing.T) {
				t.Parallel()
				b := newBench(t, "F19", nil)
				b.add("one", "two")
				b.srv.Script(pop3test.Rule{At: step, Do: pop3test.ReplyThenDrop(text + "\r\n")})
				if _, err := b.poll(); err != nil {
					assert.True(t, driver.KindOf(err).Retryable(), "F19: %v", err)
					assert.Less(t, len(err.Error()), 1000, "F19: the server's words are cut short")
				}
				b.heal("one", "two")
			})
		}
	}
}

// TestF25Vanished: somebody else removed a mail after it was listed.
func TestF25Vanished(t *testing.T) {
	b := newBench(t, "F25", nil)
	b.add("one", "gone", "three")
	b.srv.Script(pop3test.Rule{At: pop3test.StepRetr, Message: 2, Do: pop3test.Reply("-ERR no such message")})
	res, err := b.poll()
	require.NoError(t, err, "F25")
	assert.Equal(t, 1, res.Gone, "F25: counted")
	assert.Equal(t, 2, res.Delivered, "F25")
	assert.Len(t, b.srv.Messages(), 1, "F25: what was not handed over is not removed")
	b.heal("one", "gone", "three")
}

func spoolAt(t *testing.T, root string) *spool.Spool {
	t.Helper()
	sp, err := spool.New(root)
	require.NoError(t, err)
	t.Cleanup(func() { _ = sp.Close() })
	return sp
}

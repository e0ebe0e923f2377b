package driver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/spool"
)

// TestStagesUnderRandomFaults has the three stages of a poll meet faults at random moments: the disk, the line, mails that
// are gone, unreadable or too big, a cancelled context, a Stop, a refusal. MAILDRIVER_EXHAUSTIVE=1 has it meet more.
func TestStagesUnderRandomFaults(t *testing.T) {
	rounds := uint64(10)
	switch {
	case os.Getenv("MAILDRIVER_EXHAUSTIVE") != "":
		rounds = 1000
	case testing.Short():
		rounds = 5
	}
	for seed := range rounds {
		randomFaults(t, seed)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func randomMails(rnd *rand.Rand, n int) []string {
	mails := make([]string, n)
	for i := range mails {
		subject := fmt.Sprint(i)
		switch rnd.IntN(12) {
		case 0:
			mails[i] = withAttachments(subject, 70+rnd.IntN(80))
		case 1:
			mails[i] = mail(subject, strings.Repeat("x", 30000))
		case 2, 3, 4:
			mails[i] = withAttachment(subject)
		default:
			mails[i] = mail(subject, "hello")
		}
	}
	return mails
}

// withAttachments has more of them than a group of files takes.
func withAttachments(subject string, n int) string {
	var s strings.Builder
	s.WriteString("From: Ann <ann@example.com>\r\nSubject: " + subject + "\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n")
	for i := range n {
		fmt.Fprintf(&s, "--b\r\nContent-Type: application/pdf; name=\"a%d.pdf\"\r\n\r\nhello%d\r\n", i, i)
	}
	s.WriteString("--b--\r\n")
	return s.String()
}

// The faults of a session.
const (
	diskFault = iota
	tooBigFault
	lineFault
	goneFault
	unreadableFault
	cancelFault
	stopFault
	refuseFault
	noFault
)

func randomFaults(t *testing.T, seed uint64) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 1))
	mails := randomMails(rnd, 1+rnd.IntN(150))
	var steps atomic.Int64 // of the disk, until it fails once
	step := func() error {
		if steps.Add(-1) == 0 {
			return syscall.EIO
		}
		return nil
	}
	h := &hookFS{create: func(string) error { return step() }, sync: func(string) error { return step() }, dirSync: step}
	b := hookedBench(t, h, mails...)
	b.apply(driver.WithBatchSize(len(mails)), driver.WithRetry(1, 1))
	for _, id := range b.srv.ids {
		if rnd.IntN(10) == 0 {
			b.srv.sizes[id] = rnd.Int64N(40 << 20)
		}
	}
	unmarked := map[string]bool{}
	const polls = 6
	for poll := range polls {
		fault := rnd.IntN(noFault)
		if poll == polls-1 {
			fault = noFault
		}
		steps.Store(1 << 40)
		if fault == diskFault {
			steps.Store(1 + rnd.Int64N(300))
		}
		b.set.MaxMessageBytes = driver.DefaultMaxMessageBytes
		if fault == tooBigFault {
			b.set.MaxMessageBytes = 20000
		}
		ctx, cancel := context.WithCancel(t.Context())
		mb := &fetchBox{memBox: &memBox{s: b.srv}}
		broken, until := false, rnd.IntN(100)
		mb.fetch = func(ctx context.Context, ids []driver.ID, put func(driver.ID, io.Reader) error) error {
			for _, id := range ids {
				until--
				switch {
				case ctx.Err() != nil:
					broken = true
					return ctx.Err()
				case until == 0 && fault == lineFault:
					broken = true
					return errors.New("the line went down")
				case until == 0 && fault == goneFault:
					continue
				case until == 0 && fault == unreadableFault:
					if err := put(id, errReader{&driver.UnreadableError{Err: io.ErrUnexpectedEOF}}); err != nil {
						return err
					}
					continue
				}
				if err := mb.memBox.Fetch(ctx, []driver.ID{id}, put); err != nil {
					broken = true
					return err
				}
				runtime.Gosched()
			}
			return nil
		}
		src := b.source()
		src.Open = mb.open
		last, calls, at := -1, 0, rnd.IntN(100)
		_, err := b.in.Poll(ctx, src, b.common, b.set, driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
			var k int
			_, err := fmt.Sscan(ev.Subject, &k)
			assert.NoError(t, err)
			if !ev.Redelivered {
				assert.False(t, unmarked[ev.Subject], "%s came twice unmarked", ev.Subject)
				unmarked[ev.Subject] = true
				assert.Greater(t, k, last, "the order")
				last = k
			}
			raw, err := os.ReadFile(ev.RawFile)
			assert.NoError(t, err)
			assert.Equal(t, mails[k], string(raw))
			for _, f := range ev.Files {
				assert.FileExists(t, f.Path)
			}
			if calls++; calls == at {
				switch fault {
				case cancelFault:
					cancel()
				case stopFault:
					return driver.Stop
				case refuseFault:
					return errors.New("refused")
				}
			}
			return nil
		}))
		cancel()
		assert.False(t, broken && mb.commits > 0, "committed behind a broken fetch: %v", err)
		if fault == noFault {
			require.NoError(t, err)
		}
	}
	for _, stray := range []string{"*.part", "POP3*"} {
		left, err := filepath.Glob(filepath.Join(b.spool.Dir(spool.Incoming), stray))
		require.NoError(t, err)
		assert.Empty(t, left)
	}
	assert.Empty(t, b.srv.left())
	assert.Len(t, unmarked, len(mails))
}

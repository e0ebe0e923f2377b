package killtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/spool"
)

// A Maker makes the driver of a child; opts must win over others.
type Maker func(server map[string]string, opts ...driver.Option) (driver.Driver, error)

// childLimit bounds the life of a child whose parent forgot it.
const childLimit = 2 * time.Minute

// ChildMain does the job of a child and returns its exit status. TestMain
// calls it where [IsChild] is true.
func ChildMain(mk Maker) int {
	p := &points{out: os.Stdout, in: bufio.NewReader(os.Stdin)}
	if err := p.work(mk); err != nil {
		fmt.Fprintln(os.Stderr, err)
		p.say("failed %q", err.Error())
		return 1
	}
	return 0
}

func (p *points) work(mk Maker) (err error) {
	if p.job, err = readJob(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), childLimit)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	p.ctx = ctx
	sp, err := spool.New(p.job.Root, spool.WithFS(&pointFS{spool.OS(), p}))
	if err != nil {
		return err
	}
	opts := []driver.Option{driver.WithSpool(sp), driver.WithDialer(p.dial), driver.WithTimeout(30 * time.Second)}
	if p.job.Send == 0 {
		opts = append(opts, driver.WithDeleteProcessed(true), driver.WithRetry(0, 0))
	}
	if p.job.Batch > 0 {
		opts = append(opts, driver.WithBatchSize(p.job.Batch))
	}
	if p.job.MaxAttempts > 0 {
		opts = append(opts, driver.WithMaxAttempts(p.job.MaxAttempts))
	}
	d, err := mk(p.job.Server, opts...)
	if err != nil {
		return err
	}
	if p.job.Send > 0 {
		err = p.send(ctx, d)
	} else {
		err = p.drain(ctx, d)
	}
	if err != nil {
		return err
	}
	if err := d.Close(); err != nil {
		return err
	}
	p.say("rss %d", peakRSS())
	p.say("done")
	return nil
}

func (p *points) drain(ctx context.Context, d driver.Driver) error {
	j, err := openJournal(p.job.Journal)
	if err != nil {
		return err
	}
	h := driver.HandlerFunc(func(ctx context.Context, ev *driver.Event) error {
		p.at("handler")
		if p.job.Obey {
			<-ctx.Done()
			return ctx.Err()
		}
		if err := j.note(ev); err != nil {
			return err
		}
		if p.job.Notices {
			p.say("handed %s", ev.Subject)
		}
		p.at("journaled")
		return nil
	})
	for n := 1; n <= 10_000; n++ {
		res, err := d.Poll(ctx, h)
		if err != nil && errors.Is(err, context.Canceled) && errors.Is(ctx.Err(), context.Canceled) {
			return nil // SIGTERM, an orderly end
		}
		if err != nil {
			return err
		}
		if !res.More && res.RetryAt.IsZero() || n == p.job.Sessions {
			return nil
		}
	}
	return fmt.Errorf("the mailbox does not become empty")
}

// send sends a message of text lines, made as it goes.
func (p *points) send(ctx context.Context, d driver.Driver) error {
	_, err := d.Send(ctx, &driver.Message{
		From: p.job.Server["from"], To: []driver.Recipient{{Address: p.job.Server["to"]}},
		Open: func() (io.ReadCloser, error) { return io.NopCloser(BigMail("big", p.job.Send)), nil },
	})
	return err
}

// BigMail gives a mail with a base64 attachment of about size bytes of text.
// It is made as it is read.
func BigMail(subject string, size int64) io.Reader {
	const head = "From: a@example.com\r\nSubject: %s\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream; name=\"big.bin\"\r\nContent-Transfer-Encoding: base64\r\n\r\n"
	line := strings.Repeat("QUJD", 19) + "\r\n"
	block := []byte(strings.Repeat(line, 512))
	n := size / int64(len(line)) * int64(len(line))
	return io.MultiReader(strings.NewReader(fmt.Sprintf(head, subject)), io.LimitReader(&loop{block: block}, n))
}

// loop gives block over and over.
type loop struct {
	block []byte
	at    int
}

func (l *loop) Read(b []byte) (int, error) {
	n := copy(b, l.block[l.at:])
	l.at = (l.at + n) % len(l.block)
	return n, nil
}

// peakRSS is the most memory, in KiB, that this process ever had resident; 0
// where the system does not tell.
func peakRSS() int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			var kib int64
			if _, err := fmt.Sscanf(strings.TrimSpace(rest), "%d kB", &kib); err == nil {
				return kib
			}
		}
	}
	return 0
}

// Quickstart shows the main job with no arguments and no network: it starts
// mail servers inside the program, sends them mail as it comes in real life,
// polls it, prints each event with its files, answers one, and shows what is
// left in the spool.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/mime"
	"github.com/maildriver/maildriver/pop3"
	"github.com/maildriver/maildriver/pop3/pop3test"
	"github.com/maildriver/maildriver/smtp"
	"github.com/maildriver/maildriver/smtp/smtptest"
	"github.com/maildriver/maildriver/spool"
)

func main() {
	run := quickstart
	if os.Getenv(childPOP3) != "" {
		run = pollAndDie
	}
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func quickstart(ctx context.Context) error {
	// A post office: what is sent to the SMTP server appears in the POP3
	// mailbox of the help desk.
	out := smtptest.NewServer()
	defer out.Close()
	in := pop3test.NewServer(pop3test.WithPipelining(), pop3test.WithAPOP())
	defer in.Close()
	dir, err := os.MkdirTemp("", "maildriver-quickstart-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()

	d, err := open(in.Addr, out.Addr(), dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()

	title("Sending mail to the help desk")
	for _, m := range inbox() {
		receipt, err := d.Send(ctx, m)
		if err != nil {
			return err
		}
		fmt.Printf("  %s from %q: %d %s\n", receipt.Delivery, m.From, receipt.Code, receipt.Text)
	}
	deliver(out, in)

	title("A poller that is killed while its handler has a mail")
	if err := runChild(ctx, in.Addr, out.Addr(), dir); err != nil {
		return err
	}

	title("Polling again: that mail comes marked, with the same files; nothing else comes twice")
	var question *driver.Event
	for {
		res, err := d.Poll(ctx, driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
			show(ev)
			if strings.HasPrefix(ev.Subject, "Invoice") {
				question = ev
			}
			if ev.Subject == "Junk" {
				return driver.Reject(errors.New("the desk takes no junk"))
			}
			return nil
		}))
		if err != nil {
			return err
		}
		fmt.Printf("  session: %d delivered, %d redelivered, %d to loopback, %d to failed, %d removed\n",
			res.Delivered, res.Redelivered, res.Diverted, res.Failed, res.Removed)
		if !res.More {
			break
		}
	}

	title("Answering")
	if question == nil {
		return errors.New("the question did not arrive")
	}
	reply := question.Reply()
	reply.Text = "Dear customer,\n\nthe invoice is right.\n\n" + mime.QuoteText(question.Text)
	m, err := driver.NewMessage(reply)
	if err != nil {
		return err
	}
	if _, err := d.Send(ctx, m); err != nil {
		return err
	}
	sent := out.Messages()
	fmt.Println(indent(string(sent[len(sent)-1].Data)))

	title("The spool afterwards")
	return showSpool(dir)
}

// open makes the driver as a host would: two halves, one spool.
func open(pop3Addr, smtpAddr, dir string) (driver.Driver, error) {
	sp, err := spool.New(dir)
	if err != nil {
		return nil, err
	}
	in, err := pop3.New(pop3Addr, driver.WithLogin(pop3test.User, pop3test.Password), driver.WithSpool(sp),
		driver.WithFrom("Help Desk <desk@example.com>"), driver.WithProfile("desk"),
		driver.WithLoopbackDetection(time.Hour, false))
	if err != nil {
		return nil, err
	}
	out, err := smtp.New(smtpAddr, driver.WithSpool(sp), smtp.WithSaveSent(false))
	if err != nil {
		return nil, err
	}
	return driver.Pair(in, out)
}

// deliver plays the mail transport between the two servers.
func deliver(from *smtptest.Server, to *pop3test.Server) {
	for _, m := range from.Messages() {
		to.Add(append([]byte("Return-Path: <"+m.From+">\r\n"), m.Data...))
	}
	from.ClearMessages()
}

// The environment of the child that is killed.
const (
	childPOP3 = "QUICKSTART_POP3"
	childSMTP = "QUICKSTART_SMTP"
	childDir  = "QUICKSTART_SPOOL"
)

// runChild runs this program again as a poller that kills itself.
func runChild(ctx context.Context, pop3Addr, smtpAddr, dir string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, exe) //nolint:gosec // this program
	cmd.Env = append(os.Environ(), childPOP3+"="+pop3Addr, childSMTP+"="+smtpAddr, childDir+"="+dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	var died *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &died) {
		return fmt.Errorf("the child should have been killed: %w", err)
	}
	return nil
}

// pollAndDie is the child: it is killed, without a chance to clean up, in the
// handler of its second mail.
func pollAndDie(ctx context.Context) error {
	d, err := open(os.Getenv(childPOP3), os.Getenv(childSMTP), os.Getenv(childDir))
	if err != nil {
		return err
	}
	n := 0
	_, err = d.Poll(ctx, driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
		show(ev)
		if n++; n < 2 {
			return nil
		}
		fmt.Println("  (killed here)")
		self, err := os.FindProcess(os.Getpid())
		if err != nil {
			return err
		}
		if err := self.Kill(); err != nil {
			return err
		}
		select {} // until the signal arrives
	}))
	return err
}

func showSpool(dir string) error {
	return filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			fmt.Printf("  %s/\n", rel)
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Printf("    %-50s %7d bytes\n", filepath.Base(rel), info.Size())
		return nil
	})
}

func opened(s string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(s)), nil }
}

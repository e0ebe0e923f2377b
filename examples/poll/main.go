// Poll takes the mail of one profile and prints a JSON line for each:
//
//	poll -profile FILE [-once | -drain | -run] [-discard]
//
// -once, the default, is one session, -drain goes on until the mailbox is
// empty, -run until the program is interrupted. -discard deletes each event's
// files after it was printed. The exit status is 0 when done, 2 for a bad
// configuration and 1 when the run failed.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/examples/internal/profile"
)

func main() {
	file := flag.String("profile", "", "the profile, a JSON `file`")
	once := flag.Bool("once", false, "one session (the default)")
	drain := flag.Bool("drain", false, "sessions until the mailbox is empty")
	run := flag.Bool("run", false, "poll until interrupted")
	discard := flag.Bool("discard", false, "delete each event's files after printing it")
	flag.Parse()
	if *file == "" || flag.NArg() > 0 || (*once && *drain) || (*drain && *run) || (*once && *run) {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	d := profile.Load(*file)

	h := driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
		if err := printEvent(ev); err != nil {
			return err
		}
		if *discard {
			return ev.DeleteTempFiles()
		}
		return nil
	})
	var err error
	switch {
	case *run:
		err = driver.Run(ctx, d, h, driver.WithReport(report))
	case *drain:
		err = drainAll(ctx, d, h)
	default:
		var res driver.PollResult
		res, err = d.Poll(ctx, h)
		report(res, err)
	}
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	switch {
	case err == nil, *run && errors.Is(err, context.Canceled):
	case driver.KindOf(err) == driver.KindConfig:
		os.Exit(2)
	default:
		os.Exit(1)
	}
}

// drainAll polls until a session leaves nothing for the next one.
func drainAll(ctx context.Context, d driver.Driver, h driver.Handler) error {
	for {
		res, err := d.Poll(ctx, h)
		report(res, err)
		if err != nil || !res.More {
			return err
		}
	}
}

func report(res driver.PollResult, err error) {
	for _, f := range res.Failures {
		fmt.Fprintln(os.Stderr, f)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// printEvent writes the event as one line, in one write, so that no reader
// sees half of it.
func printEvent(ev *driver.Event) error {
	files := []string{}
	for _, f := range ev.Files {
		files = append(files, f.Path)
	}
	if ev.ProcessedFile != "" {
		files = append(files, ev.ProcessedFile) // where the raw mail is kept
	}
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	return out.Encode(struct {
		ID          string   `json:"id"`
		Redelivered bool     `json:"redelivered"`
		Fields      fields   `json:"fields"`
		Files       []string `json:"files"`
	}{ev.ID, ev.Redelivered, ev.Fields(), files})
}

// fields become a JSON object in their own order.
type fields []driver.Field

func (l fields) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, f := range l {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(f.Name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(f.Value)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

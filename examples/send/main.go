// Send sends ready-made messages through one profile and prints a JSON line
// for each:
//
//	send -profile FILE [-from ADDRESS] [-to ADDRESS]... MESSAGE.eml...
//
// Without -from and -to the envelope is read off the message's header. It also
// composes one, as the profile's parameters for outbound mail say:
//
//	send -profile FILE [-from ADDRESS] -to ADDRESS... -subject TEXT [-text FILE] [-html FILE] [-attach FILE]...
//
// The exit status is 0 if every message was accepted for every recipient, 2 for a
// bad configuration, else 1.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/examples/internal/profile"
	"github.com/maildriver/maildriver/mime"
)

type result struct {
	File       string      `json:"file"`
	Outcome    string      `json:"outcome"`
	Code       int         `json:"code"`
	Enhanced   string      `json:"enhanced"`
	Server     string      `json:"server"`
	Recipients []recipient `json:"recipients"`
}

type recipient struct {
	Address string `json:"address"`
	Outcome string `json:"outcome"`
	Code    int    `json:"code"`
	Text    string `json:"text"`
}

// A letter is a mail to be composed.
type letter struct {
	subject, text, html string
	files               []string
}

func main() {
	var l letter
	file := flag.String("profile", "", "the profile, a JSON `file`")
	from := flag.String("from", "", "envelope sender `address`")
	var to []string
	flag.Func("to", "recipient `address`, may be repeated", func(a string) error { to = append(to, a); return nil })
	flag.StringVar(&l.subject, "subject", "", "subject of a mail to compose")
	flag.StringVar(&l.text, "text", "", "its text, a UTF-8 `file`")
	flag.StringVar(&l.html, "html", "", "its HTML, a UTF-8 `file`")
	flag.Func("attach", "a `file` to attach to it, may be repeated", func(f string) error { l.files = append(l.files, f); return nil })
	flag.Parse()
	compose := l.subject != "" || l.text != "" || l.html != "" || len(l.files) > 0
	if *file == "" || !compose && flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	d := profile.Load(*file)

	status := 0
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	report := func(name string, receipt driver.Receipt, err error) {
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			status = 1
		}
		if err := out.Encode(line(name, receipt, driver.DeliveryOf(err))); err != nil {
			status = 1
		}
	}
	if compose {
		receipt, err := l.send(ctx, d, *from, to)
		report("composed", receipt, err)
	}
	for _, name := range flag.Args() {
		receipt, err := send(ctx, d, name, *from, to)
		report(name, receipt, err)
	}
	if err := d.Close(); err != nil {
		status = 1
	}
	os.Exit(status)
}

func send(ctx context.Context, d driver.Driver, name, from string, to []string) (driver.Receipt, error) {
	m, err := driver.ReadyMessage(func() (io.ReadCloser, error) { return os.Open(name) }) //nolint:gosec // named by the user
	if err != nil {
		return driver.Receipt{}, err
	}
	if from != "" {
		m.From = from
	}
	if len(to) > 0 {
		m.To = nil
		for _, a := range to {
			m.To = append(m.To, driver.Recipient{Address: a})
		}
	}
	return d.Send(ctx, m)
}

// send composes the letter and sends it. Without from it comes from the
// profile's address.
func (l *letter) send(ctx context.Context, d driver.Driver, from string, to []string) (driver.Receipt, error) {
	draft := &mime.Draft{Subject: l.subject}
	if from != "" {
		list, err := mime.ParseAddressList(from)
		if err != nil || len(list) != 1 {
			return driver.Receipt{}, fmt.Errorf("%q is not an address", from)
		}
		draft.From = list[0]
	}
	var err error
	if draft.To, err = mime.ParseAddressList(strings.Join(to, ", ")); err != nil {
		return driver.Receipt{}, err
	}
	for _, body := range []struct {
		name string
		to   *string
	}{{l.text, &draft.Text}, {l.html, &draft.HTML}} {
		if body.name == "" {
			continue
		}
		data, err := os.ReadFile(body.name)
		if err != nil {
			return driver.Receipt{}, err
		}
		*body.to = string(data)
	}
	for _, name := range l.files {
		draft.Attachments = append(draft.Attachments, mime.Attachment{
			Name: filepath.Base(name),
			Open: func() (io.ReadCloser, error) { return os.Open(name) }, //nolint:gosec // named by the user
		})
	}
	m, err := driver.Compose(d, draft)
	if err != nil {
		return driver.Receipt{}, err
	}
	return d.Send(ctx, m)
}

func line(name string, r driver.Receipt, outcome driver.Delivery) result {
	res := result{File: name, Outcome: outcome.String(), Code: r.Code, Enhanced: r.Enhanced, Server: r.Server, Recipients: []recipient{}}
	for _, x := range r.Recipients {
		res.Recipients = append(res.Recipients, recipient{x.Address, x.Delivery.String(), x.Code, x.Text})
	}
	return res
}

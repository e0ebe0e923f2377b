// Send sends ready-made messages through one profile and prints a JSON line
// for each:
//
//	send -profile FILE [-from ADDRESS] [-to ADDRESS]... MESSAGE.eml...
//
// Without -from and -to the envelope is read off the message's header. The
// exit status is 0 if every message was accepted for every recipient, 2 for a
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
	"syscall"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/examples/internal/profile"
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

func main() {
	file := flag.String("profile", "", "the profile, a JSON `file`")
	from := flag.String("from", "", "envelope sender `address`")
	var to []string
	flag.Func("to", "recipient `address`, may be repeated", func(a string) error { to = append(to, a); return nil })
	flag.Parse()
	if *file == "" || flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	d := profile.Load(*file)

	status := 0
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for _, name := range flag.Args() {
		receipt, err := send(ctx, d, name, *from, to)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			status = 1
		}
		if err := out.Encode(line(name, receipt, driver.DeliveryOf(err))); err != nil {
			status = 1
		}
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

func line(name string, r driver.Receipt, outcome driver.Delivery) result {
	res := result{File: name, Outcome: outcome.String(), Code: r.Code, Enhanced: r.Enhanced, Server: r.Server, Recipients: []recipient{}}
	for _, x := range r.Recipients {
		res.Recipients = append(res.Recipients, recipient{x.Address, x.Delivery.String(), x.Code, x.Text})
	}
	return res
}

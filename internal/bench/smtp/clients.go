package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	stdsmtp "net/smtp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/smtp"
)

const from, to = "a@example.com", "b@example.com"

func contains(s, part string) bool { return strings.Contains(s, part) }

// message makes a message of about n bytes, in lines as base64 has them, with a
// dot at the start of one in a hundred.
func message(n int) []byte {
	var b bytes.Buffer
	b.WriteString("From: <" + from + ">\r\nTo: <" + to + ">\r\nSubject: bench\r\n\r\n")
	for i := 0; b.Len() < n; i++ {
		if i%100 == 50 {
			b.WriteString(".")
		}
		b.WriteString(strings.Repeat("QUJD", 19) + "\r\n")
	}
	return b.Bytes()
}

// driverTime sends n messages with our driver over at most conns connections,
// from so many goroutines, and gives the seconds for one.
func driverTime(addr string, body []byte, n, conns, callers int) (float64, error) {
	d, err := smtp.New(addr, smtp.WithMaxConnections(conns), smtp.WithMaxAge(0, 0))
	if err != nil {
		return 0, err
	}
	defer func() { _ = d.Close() }()
	m := &driver.Message{
		From: from, To: []driver.Recipient{{Address: to}},
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil },
	}
	var left atomic.Int64
	left.Store(int64(n))
	failed := make(chan error, callers)
	var wg sync.WaitGroup
	start := time.Now()
	for range callers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := d.Send(context.Background(), m); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(start).Seconds() / float64(n)
	select {
	case err := <-failed:
		return 0, err
	default:
		return took, nil
	}
}

// netTime sends n messages with net/smtp over one connection.
func netTime(addr string, body []byte, n int) (float64, error) {
	c, err := stdsmtp.Dial(addr)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	for range n {
		if err := netSend(c, body); err != nil {
			return 0, errors.Join(err, c.Close())
		}
	}
	took := time.Since(start).Seconds() / float64(n)
	return took, c.Quit()
}

func netSend(c *stdsmtp.Client, body []byte) error {
	if err := c.Mail(from); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(body); err != nil {
		return err
	}
	return w.Close()
}

// cpu gives the CPU time of this process that f costs.
func cpu(f func() error) (float64, error) {
	before, err := used()
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := used()
	return (after - before).Seconds(), err
}

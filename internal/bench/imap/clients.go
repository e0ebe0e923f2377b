package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-message/mail"
	gopop3 "github.com/knadh/go-pop3"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/imap"
	"github.com/maildriver/maildriver/pop3"
	"github.com/maildriver/maildriver/spool"
)

func findLab() (map[string]string, error) {
	dir := os.Getenv("LAB_DIR")
	if dir == "" {
		dir = filepath.Join(os.TempDir(), "maillab")
	}
	f, err := os.Open(filepath.Join(dir, "lab.env"))
	if err != nil {
		return nil, fmt.Errorf("the mail lab is not up: %w", err)
	}
	defer func() { _ = f.Close() }()
	env := map[string]string{}
	for s := bufio.NewScanner(f); s.Scan(); {
		if k, v, ok := strings.Cut(s.Text(), "="); ok {
			env[k] = v
		}
	}
	return env, nil
}

func dial(addr string) (c *imapclient.Client, mails uint32, err error) {
	if c, err = imapclient.DialInsecure(addr, nil); err != nil {
		return nil, 0, err
	}
	err = c.Login(user, password).Wait()
	if err == nil {
		var box *goimap.SelectData
		if box, err = c.Select("INBOX", nil).Wait(); err == nil {
			return c, box.NumMessages, nil
		}
	}
	return nil, 0, errors.Join(err, c.Close())
}

// fill empties the mailbox and puts n mails there.
func fill(addr string, mail []byte, n int) error {
	c, old, err := dial(addr)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if old > 0 {
		all := goimap.SeqSet{{Start: 1, Stop: 0}}
		if err := c.Store(all, &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Silent: true, Flags: []goimap.Flag{goimap.FlagDeleted}}, nil).Close(); err != nil {
			return err
		}
		if err := c.Expunge().Close(); err != nil {
			return err
		}
	}
	for range n {
		a := c.Append("INBOX", int64(len(mail)), nil)
		if _, err := a.Write(mail); err != nil {
			return err
		}
		if err := a.Close(); err != nil {
			return err
		}
		if _, err := a.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// drain takes n mails with a driver, everything durable before it is removed.
func drain(dir string, n int, open func(...driver.Option) (driver.Driver, error)) error {
	sp, err := spool.New(filepath.Join(dir, "spool"))
	if err != nil {
		return err
	}
	defer func() { _ = sp.Close() }()
	d, err := open(driver.WithSpool(sp), driver.WithLogin(user, password), driver.WithInsecureAuth(), driver.WithBatchSize(n))
	if err != nil {
		return err
	}
	res, err := d.Poll(context.Background(), driver.HandlerFunc(func(context.Context, *driver.Event) error { return nil }))
	if err == nil && (res.Delivered != n || res.Removed != n) {
		err = fmt.Errorf("not all of %d mails: %+v", n, res)
	}
	return errors.Join(err, d.Close())
}

func oursIMAP(addr, dir string, n int) error {
	return drain(dir, n, func(o ...driver.Option) (driver.Driver, error) { return imap.New(addr, o...) })
}

func oursPOP3(addr, dir string, n int) error {
	return drain(dir, n, func(o ...driver.Option) (driver.Driver, error) { return pop3.New(addr, o...) })
}

// save writes a mail to a file, and makes it durable if that is wanted.
func save(dir string, i int, r io.Reader, durable bool) error {
	part := filepath.Join(dir, strconv.Itoa(i)+".part")
	f, err := os.Create(part)
	if err != nil {
		return err
	}
	if _, err = io.Copy(f, r); err == nil && durable {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(part, filepath.Join(dir, strconv.Itoa(i))); err != nil || !durable {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// parts makes the files that the drivers make of a saved mail, one after the other: the text with the header, and each
// attachment decoded.
func parts(dir string, i int, durable bool) error {
	f, err := os.Open(filepath.Join(dir, strconv.Itoa(i)))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	m, err := mail.CreateReader(f)
	if err != nil {
		return err
	}
	for k := 1; ; k++ {
		p, err := m.NextPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = save(dir, 1_000_000*k+i, p.Body, durable)
		}
		if err != nil {
			return err
		}
	}
}

// body is the content of one mail of a running FETCH.
func body(m *imapclient.FetchMessageData) (goimap.LiteralReader, error) {
	for {
		switch item := m.Next().(type) {
		case nil:
			return nil, errors.New("a mail without content")
		case imapclient.FetchItemDataBodySection:
			return item.Literal, nil
		}
	}
}

var whole = &goimap.FetchOptions{UID: true, BodySection: []*goimap.FetchItemBodySection{{Peek: true}}}

// oneByOne is one FETCH and one STORE a mail.
func oneByOne(addr, dir string, n int, durable, same bool) error {
	c, _, err := dial(addr)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	found, err := c.UIDSearch(&goimap.SearchCriteria{}, nil).Wait()
	if err != nil {
		return err
	}
	uids := found.AllUIDs()
	if len(uids) != n {
		return fmt.Errorf("%d mails, want %d", len(uids), n)
	}
	for i, uid := range uids {
		cmd := c.Fetch(goimap.UIDSetNum(uid), whole)
		m := cmd.Next()
		if m == nil {
			return errors.New("a mail is missing")
		}
		r, err := body(m)
		if err == nil {
			err = save(dir, i, r, durable)
		}
		if err = errors.Join(err, cmd.Close()); err == nil && same {
			err = parts(dir, i, durable)
		}
		if err != nil {
			return err
		}
		if err := c.Store(goimap.UIDSetNum(uid), &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Silent: true, Flags: []goimap.Flag{goimap.FlagDeleted}}, nil).Close(); err != nil {
			return err
		}
	}
	return c.Expunge().Close()
}

// batches is one FETCH and one STORE for 50 mails.
func batches(addr, dir string, n int, same bool) error {
	c, _, err := dial(addr)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	for i := 0; i < n; i += 50 {
		set := goimap.SeqSet{{Start: uint32(i + 1), Stop: uint32(min(i+50, n))}}
		cmd := c.Fetch(set, whole)
		k := i
		for m := cmd.Next(); m != nil; m = cmd.Next() {
			r, err := body(m)
			if err == nil {
				err = save(dir, k, r, true)
			}
			if err == nil && same {
				err = parts(dir, k, true)
			}
			if err != nil {
				return err
			}
			k++
		}
		if err := cmd.Close(); err != nil {
			return err
		}
		if err := c.Store(set, &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Silent: true, Flags: []goimap.Flag{goimap.FlagDeleted}}, nil).Close(); err != nil {
			return err
		}
	}
	return c.Expunge().Close()
}

// onePOP3 is one RETR and one DELE a mail.
func onePOP3(addr, dir string, n int, same bool) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	c, err := gopop3.New(gopop3.Opt{Host: host, Port: number, DialTimeout: 10 * time.Second}).NewConn()
	if err != nil {
		return err
	}
	if err := c.Auth(user, password); err != nil {
		return err
	}
	for i := range n {
		b, err := c.RetrRaw(i + 1)
		if err != nil {
			return err
		}
		err = save(dir, i, b, true)
		if err == nil && same {
			err = parts(dir, i, true)
		}
		if err != nil {
			return err
		}
		if err := c.Dele(i + 1); err != nil {
			return err
		}
	}
	return c.Quit()
}

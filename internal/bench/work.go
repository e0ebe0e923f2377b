package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/spool"
)

// mailBytes is the size of a mail.
const mailBytes = 10 << 10

// makeMails makes plain mails that differ.
func makeMails(n int) [][]byte {
	mails := make([][]byte, n)
	for i := range mails {
		var b bytes.Buffer
		fmt.Fprintf(&b, "From: Ann <ann%d@example.com>\r\nTo: desk@example.com\r\nSubject: mail %d\r\nMessage-ID: <%d@example.com>\r\n"+
			"Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n", i, i, i)
		for line := 0; b.Len() < mailBytes-80; line++ {
			fmt.Fprintf(&b, "%04d %s\r\n", line, strings.Repeat("lorem ipsum ", 5))
		}
		mails[i] = b.Bytes()
	}
	return mails
}

// memory is a mailbox that answers at once.
type memory struct {
	mails [][]byte
	gone  map[driver.ID]bool
}

func idOf(i int) driver.ID { return driver.ID(fmt.Sprintf("uid-%08d", i)) }

func (m *memory) List(context.Context) iter.Seq2[driver.Entry, error] {
	return func(yield func(driver.Entry, error) bool) {
		for i, b := range m.mails {
			if !m.gone[idOf(i)] && !yield(driver.Entry{ID: idOf(i), Size: int64(len(b))}, nil) {
				return
			}
		}
	}
}

func (m *memory) Fetch(_ context.Context, ids []driver.ID, put func(driver.ID, io.Reader) error) error {
	for _, id := range ids {
		var i int
		if _, err := fmt.Sscanf(string(id), "uid-%d", &i); err != nil {
			return err
		}
		if err := put(id, bytes.NewReader(m.mails[i])); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) Remove(_ context.Context, ids []driver.ID) error {
	if m.gone == nil {
		m.gone = map[driver.ID]bool{}
	}
	for _, id := range ids {
		m.gone[id] = true
	}
	return nil
}

func (m *memory) Commit(context.Context) error { return nil }
func (m *memory) Close() error                 { return nil }

// pipeline polls all mails in sessions of batch. The host keeps the files of its events: removing them is its own affair
// and, on ext4, makes the making of others slow for some seconds.
func pipeline(root string, mails [][]byte, batch int) error {
	sp, err := spool.New(root)
	if err != nil {
		return err
	}
	defer sp.Close()
	c := driver.NewCommon()
	c.Spool = sp
	set := driver.NewInboundSettings()
	set.BatchSize = batch
	box := &memory{mails: mails}
	src := driver.Source{
		Protocol: "POP3", Server: "bench.example.com", Account: "bench",
		Open: func(context.Context) (driver.Mailbox, error) { return box, nil },
	}
	in := driver.NewInbound()
	handled := 0
	for {
		res, err := in.Poll(context.Background(), src, c, set, driver.HandlerFunc(func(context.Context, *driver.Event) error {
			handled++
			return nil
		}))
		if err != nil {
			return err
		}
		if !res.More {
			break
		}
	}
	if handled != len(mails) {
		return fmt.Errorf("%d of %d mails were handed over", handled, len(mails))
	}
	return nil
}

// oneByOne makes one mail after the other durable in the way everybody writes it first: write, sync, rename each file,
// sync the directory. The pipeline makes two files of a plain mail, the raw one and OriginalMessageText; names says which
// the loop makes. It keeps no record, so a crash makes it hand mails over again without knowing.
func oneByOne(root string, mails [][]byte, names ...string) error {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return err
	}
	dir, err := os.Open(root)
	if err != nil {
		return err
	}
	defer dir.Close()
	for i, m := range mails {
		for _, name := range names {
			if err := oneFile(filepath.Join(root, fmt.Sprintf(name, i)), m); err != nil {
				return err
			}
		}
		if err := dir.Sync(); err != nil {
			return err
		}
	}
	return nil
}

func oneFile(final string, m []byte) error {
	f, err := os.OpenFile(final+".part", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(m)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(final+".part", final)
	}
	return err
}

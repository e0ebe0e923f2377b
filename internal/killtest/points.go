package killtest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	"github.com/maildriver/maildriver/spool"
)

// points counts the visits of points and stops at the one that the job names.
// A stop holds up every goroutine at its next point, so that the moment stands
// still.
type points struct {
	job Job
	out io.Writer
	in  *bufio.Reader
	ctx context.Context // ends with SIGTERM

	mu    sync.Mutex
	seen  int
	named int
}

func (p *points) at(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !strings.HasPrefix(name, "after ") { // which is the moment before the next one
		p.seen++
	}
	if name == p.job.Point {
		p.named++
	}
	hit := p.job.Nth > 0 && (p.job.Point == "" && p.seen == p.job.Nth && !strings.HasPrefix(name, "after ") || name == p.job.Point && p.named == p.job.Nth)
	if !hit {
		return
	}
	fmt.Fprintf(p.out, "at %s\n", name)
	_, _ = p.in.ReadString('\n')
	if p.job.Term {
		<-p.ctx.Done()
	}
}

// say tells the parent something.
func (p *points) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, format+"\n", args...)
}

// directory is the class of a directory, which is synced for its names.
const directory = "directory"

// classOf names the sort of a file of the spool.
func classOf(name string) string {
	if name == directory {
		return name
	}
	part := ""
	if strings.HasSuffix(name, ".part") {
		part = " part"
	}
	for _, c := range []struct{ prefix, class string }{
		{"ATT_", "attachment"},
		{"OriginalMessageText_", "text"},
		{"Current_", "current"},
		{"Previous_", "previous"},
		{"Lock_", "lock"},
		{"Session_", "claim"},
		{"SMTP_", "sent"},
	} {
		if strings.HasPrefix(name, c.prefix) {
			return c.class + part
		}
	}
	if n, ok := spool.ParseName(name); ok && n.Prefix != "" {
		return "raw" + part
	}
	return "other" + part
}

// dial makes commands points.
func (p *points) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	p.at("dial")
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &pointConn{Conn: c, p: p}, nil
}

type pointConn struct {
	net.Conn
	p *points

	mu   sync.Mutex
	verb string
}

func (c *pointConn) Write(b []byte) (int, error) {
	verb := verbOf(b)
	c.p.at("send " + verb)
	n, err := c.Conn.Write(b)
	c.mu.Lock()
	c.verb = verb
	c.mu.Unlock()
	c.p.at("sent " + verb)
	return n, err
}

func (c *pointConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	verb := c.verb
	c.verb = ""
	c.mu.Unlock()
	if verb != "" {
		c.p.at("answered " + verb)
	}
	return n, err
}

// verbOf gives the first word of a command without its arguments, which may be
// secret: RETR, or behind the tag of IMAP SELECT or UID STORE.
func verbOf(b []byte) string {
	line, _, _ := bytes.Cut(b, []byte("\r\n"))
	word, rest, _ := bytes.Cut(line, []byte(" "))
	if isTag(word) {
		word, rest, _ = bytes.Cut(rest, []byte(" "))
	}
	if !isVerb(word) {
		return "data"
	}
	if string(word) == "UID" {
		if second, _, _ := bytes.Cut(rest, []byte(" ")); isVerb(second) {
			return "UID " + string(second)
		}
	}
	return string(word)
}

func isVerb(word []byte) bool {
	return len(word) > 0 && len(word) <= 12 && !bytes.ContainsFunc(word, func(r rune) bool { return r < 'A' || r > 'Z' })
}

// isTag knows A1 and the like.
func isTag(word []byte) bool {
	return len(word) > 1 && isVerb(word[:1]) && !bytes.ContainsFunc(word[1:], func(r rune) bool { return r < '0' || r > '9' })
}

// pointFS makes the operations on the disk points, before and after each.
type pointFS struct {
	spool.FS
	p *points
}

func (f *pointFS) around(op, name string, do func() error) error {
	point := op + " " + classOf(name)
	f.p.at("before " + point)
	err := do()
	f.p.at("after " + point)
	return err
}

func (f *pointFS) OpenDir(path string) (spool.Dir, error) {
	d, err := f.FS.OpenDir(path)
	if err != nil {
		return nil, err
	}
	return &pointDir{d, f}, nil
}

func (f *pointFS) Rename(from spool.Dir, name string, to spool.Dir, toName string) error {
	return f.around("rename", toName, func() error {
		return f.FS.Rename(from.(*pointDir).Dir, name, to.(*pointDir).Dir, toName)
	})
}

func (f *pointFS) Replace(d spool.Dir, name, toName string) error {
	return f.around("replace", toName, func() error { return f.FS.Replace(d.(*pointDir).Dir, name, toName) })
}

type pointDir struct {
	spool.Dir
	f *pointFS
}

func (d *pointDir) wrap(file spool.File, err error) (spool.File, error) {
	if err != nil {
		return nil, err
	}
	return &pointFile{file, d.f}, nil
}

func (d *pointDir) Create(name string) (file spool.File, err error) {
	err = d.f.around("create", name, func() error { file, err = d.wrap(d.Dir.Create(name)); return err })
	return file, err
}

func (d *pointDir) Open(name string) (spool.File, error) { return d.wrap(d.Dir.Open(name)) }

func (d *pointDir) OpenAppend(name string) (file spool.File, err error) {
	err = d.f.around("append", name, func() error { file, err = d.wrap(d.Dir.OpenAppend(name)); return err })
	return file, err
}

func (d *pointDir) Same(name string, f spool.File) (bool, error) {
	return d.Dir.Same(name, f.(*pointFile).File)
}

func (d *pointDir) Remove(name string) error {
	return d.f.around("remove", name, func() error { return d.Dir.Remove(name) })
}

func (d *pointDir) Sync() error {
	return d.f.around("sync", directory, d.Dir.Sync)
}

type pointFile struct {
	spool.File
	f *pointFS
}

func (f *pointFile) Write(b []byte) (n int, err error) {
	err = f.f.around("write", f.Name(), func() error { n, err = f.File.Write(b); return err })
	return n, err
}

// WriteAt tells the room that is made for records from the records.
func (f *pointFile) WriteAt(b []byte, off int64) (n int, err error) {
	op := "write"
	if len(b) > 0 && b[0] == 0 {
		op = "room"
	}
	err = f.f.around(op, f.Name(), func() error { n, err = f.File.WriteAt(b, off); return err })
	return n, err
}

func (f *pointFile) Sync() error { return f.f.around("sync", f.Name(), f.File.Sync) }

func (f *pointFile) Truncate(n int64) error {
	return f.f.around("truncate", f.Name(), func() error { return f.File.Truncate(n) })
}

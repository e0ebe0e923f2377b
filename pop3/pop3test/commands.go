package pop3test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
)

func (c *session) execute(step Step, args string, a Action) error {
	switch step {
	case StepCapa:
		return c.capa()
	case StepQuit:
		return c.quit(a)
	}
	if c.box == nil {
		return c.authorization(step, args)
	}
	switch step {
	case StepStat:
		var count, total int64
		for i, m := range c.mails {
			if !c.dead[i] {
				count, total = count+1, total+m.size
			}
		}
		return c.say("+OK %d %d", count, total)
	case StepList:
		return c.list(args, func(m *storedMail) string {
			if m.ListSize != "" {
				return m.ListSize
			}
			return strconv.FormatInt(m.size, 10)
		})
	case StepUIDL:
		if c.srv.cfg.noUIDL {
			return c.say(unknownCommand)
		}
		return c.list(args, func(m *storedMail) string { return m.UIDL })
	case StepRetr:
		return c.retr(args)
	case StepTop:
		if c.srv.cfg.noTOP {
			return c.say(unknownCommand)
		}
		return c.top(args)
	case StepDele:
		i, m := c.message(args)
		if m == nil {
			return c.say("-ERR no such message")
		}
		c.dead[i] = true
		c.srv.note(m, func(r *Record) { r.Marked++ })
		return c.say("+OK marked")
	case StepNoop:
		return c.say("+OK")
	case StepRset:
		clear(c.dead)
		return c.say("+OK")
	}
	c.srv.violation("unknown or untimely command %.10q", string(step))
	return c.say(unknownCommand)
}

// unknownCommand answers what RFC 1939 leaves to the server and this one has
// not. To try it is no violation.
const unknownCommand = "-ERR unknown command"

func (c *session) capa() error {
	if c.srv.cfg.capaRefused {
		return c.say(unknownCommand)
	}
	if err := c.say("+OK capability list follows"); err != nil {
		return err
	}
	for _, line := range c.srv.cfg.capabilities(c.box != nil, c.secure) {
		if err := c.say("%s", line); err != nil {
			return err
		}
	}
	return c.say(".")
}

// quit ends the session; out of the TRANSACTION state it removes what was
// marked (RFC 1939, section 6).
func (c *session) quit(a Action) error {
	if c.box == nil {
		return c.say("+OK bye")
	}
	var marked []*storedMail
	for i, m := range c.mails {
		if c.dead[i] {
			marked = append(marked, m)
		}
	}
	keep := func(uidl string) bool {
		return a.kind == actKeep && (len(a.uidls) == 0 || slices.Contains(a.uidls, uidl))
	}
	all := c.srv.commit(c.box, marked, keep)
	// The lock goes before the reply, so that who read it can log in again.
	box := c.box
	c.box = nil
	c.srv.unlock(box)
	if !all {
		return c.say("-ERR some deleted messages not removed")
	}
	return c.say("+OK bye")
}

// message finds the mail of a message number that is still there.
func (c *session) message(arg string) (int, *storedMail) {
	n, err := strconv.Atoi(arg)
	if err != nil || n < 1 || n > len(c.mails) || c.dead[n-1] {
		return 0, nil
	}
	m := c.mails[n-1]
	var gone bool
	c.srv.note(m, func(r *Record) { gone = r.Vanished })
	if gone {
		return 0, nil
	}
	return n - 1, m
}

func (c *session) list(arg string, show func(*storedMail) string) error {
	if arg != "" {
		i, m := c.message(arg)
		if m == nil {
			return c.say("-ERR no such message")
		}
		return c.say("+OK %d %s", i+1, show(m))
	}
	if err := c.say("+OK listing follows"); err != nil {
		return err
	}
	for i, m := range c.mails {
		if c.dead[i] {
			continue
		}
		c.srv.note(m, func(r *Record) { r.Listed++ })
		if err := c.say("%d %s", i+1, show(m)); err != nil {
			return err
		}
	}
	return c.say(".")
}

func (c *session) retr(arg string) error {
	_, m := c.message(arg)
	if m == nil {
		return c.say("-ERR no such message")
	}
	if err := c.say("+OK message follows"); err != nil {
		return err
	}
	if err := c.body(m, -1); err != nil {
		return err
	}
	c.srv.note(m, func(r *Record) { r.Retrieved++ })
	return nil
}

func (c *session) top(args string) error {
	number, lines, _ := strings.Cut(args, " ")
	_, m := c.message(number)
	n, err := strconv.Atoi(lines)
	if m == nil || err != nil || n < 0 {
		return c.say("-ERR no such message")
	}
	if err := c.say("+OK top follows"); err != nil {
		return err
	}
	return c.body(m, n)
}

// body sends a message dot-stuffed (RFC 1939, section 3), with so many lines
// after the header; < 0 means all.
func (c *session) body(m *storedMail, lines int) error {
	in := bufio.NewReaderSize(m.open(), 64<<10)
	start, inHeader, cr := true, true, false
	for lines != 0 || inHeader {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			if start && line[0] == '.' {
				if err := c.out.WriteByte('.'); err != nil {
					return err
				}
			}
			if _, err := c.out.Write(line); err != nil {
				return err
			}
			if !inHeader && lines > 0 {
				lines--
			}
			if start && string(line) == "\r\n" {
				inHeader = false
			}
			// A LF alone ends no line of the protocol. The CR may have been the
			// last byte of the piece before.
			start = bytes.HasSuffix(line, []byte("\r\n")) || cr && string(line) == "\n"
			cr = line[len(line)-1] == '\r'
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
	if !start {
		if err := c.say(""); err != nil {
			return err
		}
	}
	return c.say(".")
}

package imap

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/netx"
)

// Limits of what a server may say.
const (
	// maxLine bounds a line without its literals. SEARCH needs more, see
	// [session.maxLine].
	maxLine = 64 << 10
	// maxResponse bounds a response with its literals, other than the mails
	// themselves.
	maxResponse = 1 << 20
	// maxLiterals bounds the literals of one response.
	maxLiterals = 1000
	// maxResponses bounds the responses to one command, by default; a
	// listing of mails or folders may have more.
	maxResponses = 100_000
	// commandWaits is how many time-outs a command may take in all, so that a
	// server that keeps talking without coming to the end is given up.
	commandWaits = 10
)

// A response is one response of the server, whole except for a FETCH, whose
// literals are read by who wants them.
type response struct {
	tag  string // "*", "+" or the tag of a command
	typ  string // upper-case, e.g. OK, EXISTS, LIST
	num  uint32 // of EXISTS, EXPUNGE, FETCH, RECENT
	rest []byte // what follows the type, literals as they came; valid until the next read
}

// isStatus reports whether the rest is text for people, in which braces mean
// nothing.
func (r *response) isStatus() bool {
	switch r.typ {
	case "OK", "NO", "BAD", "BYE", "PREAUTH":
		return true
	}
	return false
}

// read reads the next response, by the deadline for its first line.
func (s *session) read(deadline time.Time) (*response, error) {
	if s.err != nil {
		return nil, s.err
	}
	line, err := s.conn.ReadLineBy(deadline, s.maxLine)
	if err != nil {
		return nil, err
	}
	if bytes.IndexByte(line, 0) >= 0 {
		return nil, s.garbage("a NUL", line)
	}
	r := &response{}
	r.tag, r.rest = cutWord(line)
	switch r.tag {
	case "+":
		return r, nil
	case "":
		return nil, s.garbage("no response", line)
	case "*":
		if num, rest, ok := parseNumber(r.rest); ok && len(rest) > 0 && rest[0] == ' ' {
			r.num, r.rest = num, rest[1:]
		}
	}
	word, rest := cutWord(r.rest)
	r.typ, r.rest = strings.ToUpper(word), rest
	if r.typ == "" || !isAtom(r.typ) {
		return nil, s.garbage("no response", line)
	}
	if r.tag != "*" && !r.isStatus() {
		return nil, s.garbage("no response", line)
	}
	if r.isStatus() || r.typ == "FETCH" {
		return r, nil
	}
	return r, s.complete(r)
}

// complete reads the literals of a response and what follows them.
func (s *session) complete(r *response) error {
	_, n, found, err := literalSize(r.rest)
	if err == nil && !found {
		return nil
	}
	whole := bytes.Clone(r.rest)
	for range maxLiterals {
		if err != nil {
			return s.wrap("read", driver.KindProtocol, err)
		}
		if !found {
			r.rest = whole
			return nil
		}
		if int64(len(whole))+n > maxResponse {
			return s.wrap("read", driver.KindProtocol, fmt.Errorf("%s: longer than %d bytes: %w", r.typ, maxResponse, driver.ErrLimit))
		}
		whole = append(whole, "\r\n"...)
		at := len(whole)
		whole = append(whole, make([]byte, n)...)
		s.conn.StartBody()
		if _, err := io.ReadFull(s.conn, whole[at:]); err != nil {
			return err
		}
		line, lerr := s.conn.ReadLine(maxLine)
		if lerr != nil {
			return lerr
		}
		whole = append(whole, line...)
		_, n, found, err = literalSize(line)
	}
	return s.wrap("read", driver.KindProtocol, fmt.Errorf("%s: more than %d literals: %w", r.typ, maxLiterals, driver.ErrLimit))
}

func (s *session) garbage(what string, line []byte) error {
	return s.wrap("read", driver.KindProtocol, fmt.Errorf("%s: %s", what, netx.Quote(s.scrub(string(line)))))
}

// A status is the end of a command, or what the server says by the way.
type status struct {
	typ  string // OK, NO, BAD, BYE, PREAUTH
	code string // upper-case, "" if there is none
	args string // of the code
	text string
}

func (r *response) status() status {
	st := status{typ: r.typ, text: strings.TrimLeft(string(r.rest), " ")}
	if strings.HasPrefix(st.text, "[") {
		if inside, rest, ok := strings.Cut(st.text[1:], "]"); ok {
			code, args, _ := strings.Cut(inside, " ")
			st.code, st.args, st.text = strings.ToUpper(code), args, strings.TrimLeft(rest, " ")
		}
	}
	return st
}

// refusal makes the error of a NO, BAD or BYE.
func (s *session) refusal(command string, st status) *ReplyError {
	text := s.scrub(st.text)
	e := &ReplyError{Command: command, Status: st.typ, Code: st.code, Text: text[:min(len(text), maxText)]}
	if !isAtom(e.Code) || len(e.Code) > 64 {
		e.Code = ""
	}
	return e
}

// untagged notes what concerns the session in a response that belongs to no
// command in particular, and passes the response to on, which may be nil. What
// neither knows is passed over: servers may say more than we know.
func (s *session) untagged(r *response, on func(*response) error) error {
	switch r.typ {
	case "OK", "NO", "BAD", "PREAUTH":
		s.note(r.status())
	case "BYE":
		if !s.leaving {
			re := s.refusal("session", r.status())
			kind := re.kindOf()
			return s.wrap("session", kind, re)
		}
	case "CAPABILITY":
		s.setCaps(string(r.rest))
	case "ENABLED":
		for _, name := range strings.Fields(string(r.rest)) {
			s.enabled[strings.ToUpper(name)] = true
		}
	case "EXISTS":
		s.box.exists, s.box.news = r.num, true
	case "EXPUNGE":
		s.box.exists -= min(s.box.exists, 1)
		s.box.expunged++
	case "FETCH":
		if s.fetching == nil {
			return s.skipFetch(r)
		}
		return s.fetching.response(r)
	}
	if on != nil {
		return on(r)
	}
	return nil
}

// note keeps what status codes tell of the selected folder and the server.
func (s *session) note(st status) {
	switch st.code {
	case "CAPABILITY":
		s.setCaps(st.args)
	case "UIDVALIDITY":
		s.box.validity, _, _ = parseNumber([]byte(st.args))
	case "UIDNEXT":
		s.box.next, _, _ = parseNumber([]byte(st.args))
	case "PERMANENTFLAGS":
		s.box.permanent, s.box.knowsPermanent = strings.Fields(strings.Trim(st.args, "()")), true
	case "UIDNOTSTICKY":
		s.box.notSticky = true
	case "ALERT":
		// RFC 3501 section 7.1 wants people to see it; it is never acted on.
		s.log.Warn("the server alerts", "driver", driverName, "addr", s.conn.Addr(), "text", netx.Quote(s.scrub(st.text)))
	}
}

// await reads up to the tagged reply of a command. A refusal is a
// [*ReplyError] in a [*driver.Error], and the session goes on; every other
// error ends it.
func (s *session) await(command, tag string, on func(*response) error) (status, error) {
	if st, ok := s.early[tag]; ok {
		delete(s.early, tag)
		return s.finish(command, st)
	}
	limit := time.Now().Add(commandWaits * s.conn.Timeout())
	for range max(maxResponses, s.maxListing) {
		deadline := time.Now().Add(s.conn.Timeout())
		if deadline.After(limit) {
			deadline = limit
		}
		r, err := s.read(deadline)
		if err != nil {
			return status{}, s.broken(opOf(command), err)
		}
		switch r.tag {
		case tag:
			delete(s.inFlight, tag)
			return s.finish(command, r.status())
		case "*":
			if err := s.untagged(r, on); err != nil {
				return status{}, s.broken(opOf(command), err)
			}
		default:
			// Servers may work on several commands at a time (RFC 3501 section
			// 5.5), but on no others than those.
			if !s.inFlight[r.tag] {
				return status{}, s.broken(opOf(command), s.garbage("a reply to nothing that was asked", []byte(r.tag+" "+r.typ)))
			}
			delete(s.inFlight, r.tag)
			s.early[r.tag] = r.status()
		}
	}
	return status{}, s.broken(opOf(command), s.wrap(opOf(command), driver.KindProtocol, fmt.Errorf("too many responses: %w", driver.ErrLimit)))
}

// finish judges a tagged reply.
func (s *session) finish(command string, st status) (status, error) {
	s.last = st
	switch st.typ {
	case "OK":
		s.note(st)
		return st, nil
	case "NO", "BAD":
		re := s.refusal(command, st)
		return st, s.wrap(opOf(command), re.kindOf(), re)
	}
	return st, s.broken(opOf(command), s.garbage("a tagged reply that is none of OK, NO, BAD", []byte(st.typ)))
}

// isRefusal reports whether err is a NO or BAD, after which the session goes
// on.
func isRefusal(err error) (*ReplyError, bool) {
	re, ok := errors.AsType[*ReplyError](err)
	return re, ok && re.Status != "BYE" && re.Command != "greeting"
}

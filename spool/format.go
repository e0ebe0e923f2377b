package spool

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"
)

// The grammar of .ids files, version 1. See format.md, which is the promise; this file is its only reader and writer.

const (
	formatMagic   = "maildriver-ids"
	formatVersion = 1
	maxKey        = 70      // RFC 1939, section 7: a UIDL has 1 to 70 characters
	maxLine       = 1 << 20 // bytes of one line
	hashedKey     = "sha256:"
	crcDigits     = 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// StoredKey gives the form a key has on disk: the key itself if it has 1 to 70 printable ASCII characters without
// space, else "sha256:" and 64 hexadecimal digits. A stored key is its own stored form, so every method takes either.
func StoredKey(key string) string {
	if isHashed(key) {
		return key
	}
	plain := key != "" && len(key) <= maxKey && !strings.HasPrefix(key, hashedKey)
	for i := 0; plain && i < len(key); i++ {
		plain = '!' <= key[i] && key[i] <= '~'
	}
	if plain {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return hashedKey + hex.EncodeToString(sum[:])
}

func isHashed(key string) bool {
	h, ok := strings.CutPrefix(key, hashedKey)
	return ok && len(h) == 2*sha256.Size && strings.Trim(h, "0123456789abcdef") == ""
}

// header gives the first line without its checksum. Every other checksum is seeded with it, so that a line is only
// good in the file of its own mailbox.
func (id MailboxID) header() string {
	id = id.normal()
	return fmt.Sprintf("%s %d p=%s s=%s n=%d a=%s f=%s", formatMagic, formatVersion,
		escapeValue(id.Protocol), escapeValue(id.Server), id.Port, escapeValue(id.Account), escapeValue(id.Folder))
}

// headerLine gives the first line and the seed for the lines that follow.
func headerLine(id MailboxID) ([]byte, uint32) {
	h := id.header()
	seed := headerSeed(h)
	return fmt.Appendf(nil, "%s %08x\n", h, seed), seed
}

func headerSeed(header string) uint32 { return crc32.Checksum([]byte(header), castagnoli) }

// parseHeader reads a first line with its checksum. An unknown version is reported before the checksum is looked at,
// since a newer release may compute it otherwise.
func parseHeader(line string) (id MailboxID, version string, ok bool) {
	fields := strings.Split(line, " ")
	if len(fields) < 2 || fields[0] != formatMagic {
		return id, "", false
	}
	if fields[1] != strconv.Itoa(formatVersion) {
		return id, fields[1], false
	}
	text, sum, found := cutLast(line)
	if !found || sum != fmt.Sprintf("%08x", headerSeed(text)) || len(fields) != 8 {
		return id, "", false
	}
	for i, dst := range []*string{&id.Protocol, &id.Server, nil, &id.Account, &id.Folder} {
		tag, v, _ := strings.Cut(fields[2+i], "=")
		if tag != "psnaf"[i:i+1] {
			return id, "", false
		}
		if dst == nil {
			n, err := strconv.Atoi(v)
			if err != nil {
				return id, "", false
			}
			id.Port = n
			continue
		}
		s, err := unescapeValue(v)
		if err != nil {
			return id, "", false
		}
		*dst = s
	}
	return id, "", true
}

func cutLast(line string) (text, sum string, ok bool) {
	n := len(line) - crcDigits - 1
	if n < 1 || line[n] != ' ' {
		return "", "", false
	}
	return line[:n], line[n+1:], true
}

// line is one parsed line behind the header.
type line struct {
	session string // for a session line: its service prefix
	state   State  // 0 with an empty session: gone
	rec     Record
	has     [128]bool // tags present
}

// codec writes and reads lines; it carries the service prefix that file names are shortened by.
type codec struct {
	seed uint32
	ctx  string
}

func (c *codec) sum(text string) uint32 {
	crc := crc32.Update(c.seed, castagnoli, []byte(c.ctx))
	return crc32.Update(crc, castagnoli, []byte(text))
}

func (c *codec) end(dst []byte, text string) []byte {
	dst = append(dst, text...)
	return fmt.Appendf(dst, " %08x\n", c.sum(text))
}

// session begins a session: the prefix is part of its own checksum and of those that follow.
func (c *codec) session(dst []byte, prefix string) []byte {
	c.ctx = prefix
	return c.end(dst, "session "+prefix)
}

// record writes rec as one line with the tags named; empty values are left out, except counters and times.
func (c *codec) record(dst []byte, state State, rec *Record, tags string) ([]byte, error) {
	var b strings.Builder
	if state == 0 {
		b.WriteString("gone ")
	} else {
		b.WriteString(state.String())
		b.WriteByte(' ')
	}
	b.WriteString(StoredKey(rec.Key))
	text := func(tag byte, v string) {
		if v != "" {
			b.WriteByte(' ')
			b.WriteByte(tag)
			b.WriteByte('=')
			b.WriteString(v)
		}
	}
	for i := range len(tags) {
		switch tag := tags[i]; tag {
		case 'e':
			text(tag, escapeValue(rec.EventID))
		case 'a':
			text(tag, strconv.Itoa(rec.Attempts))
		case 'x':
			text(tag, strconv.Itoa(rec.Errors))
		case 'n':
			v := "0"
			if !rec.NotBefore.IsZero() {
				v = strconv.FormatInt(rec.NotBefore.Unix(), 10)
			}
			text(tag, v)
		case 's':
			if rec.Size > 0 {
				text(tag, strconv.FormatInt(rec.Size, 10))
			}
		case 'h':
			text(tag, escapeValue(rec.HeaderHash[:min(len(rec.HeaderHash), keptHashDigits)]))
		case 'r':
			text(tag, c.shorten(rec.Raw))
		case 'f':
			for _, f := range rec.Files {
				text(tag, c.shorten(f))
			}
		case 'F': // as f, but none is stated too, so that names known before are given up
			for _, f := range rec.Files {
				text('f', c.shorten(f))
			}
			if len(rec.Files) == 0 {
				b.WriteString(" f=")
			}
		case 'o':
			text(tag, strconv.Itoa(int(rec.Outcome)))
		case 'd':
			text(tag, strconv.Itoa(int(rec.Disposal)))
		case 'w':
			text(tag, escapeValue(shortReason(rec.Reason)))
		}
	}
	if b.Len() > maxLine-crcDigits-2 {
		return dst, fmt.Errorf("spool: record of %s has %d bytes, limit %d", quoted(rec.Key), b.Len(), maxLine)
	}
	return c.end(dst, b.String()), nil
}

// shortReason keeps one line of at most maxReason bytes.
func shortReason(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "")
	}
	return s
}

// errUnknownField: a line with a right checksum that this release does not know, written by a newer one.
var errUnknownField = errors.New("unknown field")

var errBadLine = errors.New("bad line")

// parse reads one line without its newline. Errors: errBadLine (damaged), errUnknownField (intact, but not for us).
func (c *codec) parse(s string) (line, error) {
	var l line
	text, sum, ok := cutLast(s)
	if !ok {
		return l, errBadLine
	}
	want, err := strconv.ParseUint(sum, 16, 32)
	if err != nil {
		return l, errBadLine
	}
	verb, rest, _ := strings.Cut(text, " ")
	if verb == "session" {
		next := codec{seed: c.seed, ctx: rest}
		if next.sum(text) != uint32(want) {
			return l, errBadLine
		}
		if !validPrefix(rest) {
			return l, errUnknownField
		}
		c.ctx, l.session = rest, rest
		return l, nil
	}
	if c.sum(text) != uint32(want) {
		return l, errBadLine
	}
	switch verb {
	case "entered":
		l.state = StateEntered
	case "refused":
		l.state = StateRefused
	case "crashed":
		l.state = StateCrashed
	case "done":
		l.state = StateDone
	case "gone":
	default:
		return l, errUnknownField
	}
	key, rest, more := strings.Cut(rest, " ")
	if StoredKey(key) != key {
		return l, errUnknownField
	}
	l.rec.Key, l.rec.State = key, l.state
	for more {
		var field string
		field, rest, more = strings.Cut(rest, " ")
		if err := c.field(&l, field); err != nil {
			return l, errUnknownField
		}
	}
	return l, nil
}

func (c *codec) field(l *line, field string) (err error) {
	if len(field) < 2 || field[1] != '=' || field[0] > 127 {
		return errUnknownField
	}
	tag, v := field[0], field[2:]
	l.has[tag] = true
	r := &l.rec
	num := func(bits int) int64 {
		var n uint64
		n, err = strconv.ParseUint(v, 10, bits)
		return int64(n)
	}
	switch tag {
	case 'e':
		r.EventID, err = unescapeValue(v)
	case 'a':
		r.Attempts = int(num(31))
	case 'x':
		r.Errors = int(num(31))
	case 'n':
		if n := num(62); n > 0 {
			r.NotBefore = time.Unix(n, 0)
		}
	case 's':
		r.Size = num(63)
	case 'h':
		r.HeaderHash, err = unescapeValue(v)
	case 'r':
		r.Raw, err = c.lengthen(v)
	case 'f':
		if v == "" {
			return nil
		}
		var name string
		name, err = c.lengthen(v)
		r.Files = append(r.Files, name)
	case 'o':
		r.Outcome = Outcome(num(8))
	case 'd':
		r.Disposal = Disposal(num(8))
	case 'w':
		r.Reason, err = unescapeValue(v)
	default:
		return errUnknownField
	}
	return err
}

// shorten replaces the service prefix in a name by "~".
func (c *codec) shorten(name string) string {
	if name == "" {
		return ""
	}
	if c.ctx != "" {
		if before, after, ok := strings.Cut(name, "_"+c.ctx+"_"); ok {
			return escapeValue(before) + "_~_" + escapeValue(after)
		}
	}
	return escapeValue(name)
}

func (c *codec) lengthen(v string) (string, error) {
	if before, after, ok := strings.Cut(v, "_~_"); ok {
		v = before + "_" + c.ctx + "_" + after
	}
	name, err := unescapeValue(v)
	if err == nil {
		err = checkName(name)
	}
	return name, err
}

// validPrefix reports whether s is A_B_C_D as we write it.
func validPrefix(s string) bool {
	return ServiceOf("X_"+s+"_0_0.tmp") == s
}

// escapeValue percent-encodes what is not printable ASCII, and "%" and "~".
func escapeValue(s string) string {
	const hexDigits = "0123456789ABCDEF"
	var b []byte
	for i := range len(s) {
		c := s[i]
		if '!' <= c && c < '~' && c != '%' {
			if b != nil {
				b = append(b, c)
			}
			continue
		}
		if b == nil {
			b = append(make([]byte, 0, len(s)+8), s[:i]...)
		}
		b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
	}
	if b == nil {
		return s
	}
	return string(b)
}

func unescapeValue(s string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", errBadLine
		}
		n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", errBadLine
		}
		b = append(b, byte(n))
		i += 2
	}
	return string(b), nil
}

package pop3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/netx"
)

const (
	// maxUIDL is the longest unique id that is taken. RFC 1939 section 7 says
	// 70 characters; servers with longer ones are known.
	maxUIDL = 512
	// maxListLine bounds a line of LIST and UIDL.
	maxListLine = 32 + maxUIDL
)

// A line of the listing. What the server did not say is -1 or "".
type listing struct {
	number int
	size   int64
	uidl   string
}

// list asks for STAT, LIST and UIDL, and makes one listing of them. The three
// must agree on which mails there are: one that was cut short must not look
// complete, or the mails it lacks would be taken for removed.
func (m *mailbox) list(ctx context.Context) ([]driver.Entry, error) {
	defer m.s.watch(ctx)()
	if err := m.settle(); err != nil {
		return nil, err
	}
	s := m.s
	verbs := []string{"STAT", "LIST", "UIDL"}
	ahead := s.pipelined() >= len(verbs)
	if ahead {
		for _, verb := range verbs {
			if err := s.send(verb); err != nil {
				return nil, err
			}
		}
	}
	ask := func(verb string) (string, error) {
		if ahead {
			return s.status(verb)
		}
		return s.command(verb)
	}
	text, err := ask("STAT")
	if err != nil {
		return nil, s.fail(err)
	}
	count, err := statCount(text)
	if err != nil {
		return nil, s.fail(s.wrap("stat", driver.KindProtocol, err))
	}
	if _, err := ask("LIST"); err != nil {
		return nil, s.fail(err)
	}
	lines, err := m.readLines("list", func(l *listing, rest string) error {
		l.size = sizeHint(rest)
		return nil
	})
	if err != nil {
		return nil, err
	}
	m.large = map[int]bool{}
	for _, l := range lines {
		if l.size < 0 || l.size > aheadBytes {
			m.large[l.number] = true
		}
	}
	if len(lines) < count {
		return nil, s.fail(s.wrap("list", driver.KindProtocol,
			fmt.Errorf("STAT counts %d mails, LIST has %d", count, len(lines))))
	}
	hasUIDL, err := m.addUIDLs(lines, ask)
	if err != nil {
		return nil, err
	}
	return m.identify(lines, hasUIDL)
}

// addUIDLs puts the unique ids into the lines. It returns false if the server
// has none to give.
func (m *mailbox) addUIDLs(lines []listing, ask func(string) (string, error)) (bool, error) {
	s := m.s
	_, err := ask("UIDL")
	if re, refused := isRefusal(err); refused && !re.system() {
		// The ids of all mails hang on this, and what is known of them: one
		// bad moment of the server must not change them.
		_, err = s.command("UIDL")
	}
	if re, refused := isRefusal(err); refused && !re.system() {
		return false, nil
	}
	if err != nil {
		return false, s.fail(err)
	}
	ids, err := m.readLines("uidl", func(l *listing, rest string) error {
		if !isUIDL(rest) {
			return fmt.Errorf("%s is not a unique id", netx.Quote(rest))
		}
		l.uidl = rest
		return nil
	})
	if err != nil {
		return false, err
	}
	same := func(a, b listing) bool { return a.number == b.number }
	if !slices.EqualFunc(lines, ids, same) {
		return false, s.fail(s.wrap("uidl", driver.KindProtocol,
			fmt.Errorf("LIST has %d mails and UIDL %d, and they are not the same", len(lines), len(ids))))
	}
	for i := range lines {
		lines[i].uidl = ids[i].uidl
	}
	return true, nil
}

// readLines reads a listing and sorts it by number.
func (m *mailbox) readLines(op string, fill func(l *listing, rest string) error) ([]listing, error) {
	var lines []listing
	b := m.s.newBody(op, -1)
	err := b.lines(maxListLine, m.maxList, func(line []byte) error {
		first, rest, _ := strings.Cut(strings.TrimLeft(string(line), " \t"), " ")
		l := listing{size: -1}
		var err error
		if l.number, err = messageNumber(first); err != nil {
			return err
		}
		if err := fill(&l, strings.Trim(rest, " \t")); err != nil {
			return err
		}
		lines = append(lines, l)
		return nil
	})
	if err != nil {
		return nil, err
	}
	byNumber := func(a, b listing) int { return cmp.Compare(a.number, b.number) }
	slices.SortFunc(lines, byNumber)
	for i := 1; i < len(lines); i++ {
		if lines[i].number == lines[i-1].number {
			return nil, b.refuse(fmt.Errorf("message %d is listed twice", lines[i].number))
		}
	}
	return lines, nil
}

func messageNumber(s string) (int, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 1 || s[0] == '+' {
		return 0, fmt.Errorf("%s is not a message number", netx.Quote(s))
	}
	return int(n), nil
}

// statCount reads the number of mails from the reply to STAT. The size behind
// it is not looked at.
func statCount(text string) (int, error) {
	first, _, _ := strings.Cut(text, " ")
	n, err := strconv.ParseInt(first, 10, 32)
	if err != nil || n < 0 {
		return 0, errors.New("the count of mails is not a number: " + netx.Quote(text))
	}
	return int(n), nil
}

// sizeHint reads a size, -1 for what cannot be one.
func sizeHint(s string) int64 {
	s, _, _ = strings.Cut(s, " ")
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/2 {
		return -1
	}
	return n
}

// isUIDL checks a unique id: printable and without spaces (RFC 1939 section 7).
func isUIDL(s string) bool {
	if s == "" || len(s) > maxUIDL {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

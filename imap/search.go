package imap

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/maildriver/maildriver/driver"
)

// search asks which mails match and returns their UIDs, ascending.
func (s *session) search(criteria string) ([]uint32, error) {
	found, err := s.searches(criteria)
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// searches asks several questions in one go, and returns the UIDs that match
// each, ascending.
func (s *session) searches(criteria ...string) ([][]uint32, error) {
	found := make(map[string][]uint32, len(criteria))
	tags := make([]string, 0, len(criteria))
	esearch := s.has("ESEARCH")
	for _, c := range criteria {
		if esearch {
			c = "RETURN (ALL) " + c
		}
		tag, err := s.queue("UID SEARCH", raw(c))
		if err != nil {
			return nil, err
		}
		tags = append(tags, tag)
		if esearch {
			s.inFlight[tag] = true // replies name their questions, so all go out together
			continue
		}
		if err := s.searchReply(tag, found); err != nil {
			return nil, err
		}
	}
	lists := make([][]uint32, 0, len(tags))
	for _, tag := range tags {
		if esearch {
			if err := s.searchReply(tag, found); err != nil {
				return nil, err
			}
		}
	}
	for i, tag := range tags {
		// Servers may say nothing when they find nothing. But from a folder that
		// holds mail, no word about all is a listing that was lost: taken for an
		// empty one, all that is known would be forgotten.
		if _, answered := found[tag]; !answered && criteria[i] == "ALL" && s.box.exists > 0 {
			return nil, s.wrap("uid search", driver.KindProtocol, fmt.Errorf("no answer about the %d mails of the folder", s.box.exists))
		}
		slices.Sort(found[tag])
		lists = append(lists, slices.Compact(found[tag]))
	}
	return lists, nil
}

// searchReply reads up to the end of one search. What is found by it and, out
// of turn, by others is added to found.
func (s *session) searchReply(tag string, found map[string][]uint32) error {
	if err := s.conn.Flush(); err != nil {
		return s.broken("uid search", err)
	}
	line := s.maxLine
	s.maxLine = max(line, 11*min(s.maxListing, 1<<26)+1024)
	defer func() { s.maxLine = line }()
	_, err := s.await("UID SEARCH", tag, func(r *response) (err error) {
		switch r.typ {
		case "SEARCH":
			found[tag], err = s.searchNumbers(found[tag], r.rest)
		case "ESEARCH":
			err = s.esearch(found, tag, r.rest)
		}
		return err
	})
	return err
}

// searchNumbers reads "2 84 882" (RFC 3501 section 7.2.5); what follows a
// parenthesis is of CONDSTORE.
func (s *session) searchNumbers(uids []uint32, rest []byte) ([]uint32, error) {
	for {
		rest = bytes.TrimLeft(rest, " ")
		if len(rest) == 0 || rest[0] == '(' {
			return uids, nil
		}
		n, more, ok := parseNumber(rest)
		if !ok || n == 0 || len(more) > 0 && more[0] != ' ' {
			return nil, s.wrap("uid search", driver.KindProtocol, errors.New("a listing holds what is no UID"))
		}
		if len(uids) >= s.maxListing {
			return nil, s.tooMany()
		}
		uids, rest = append(uids, n), more
	}
}

// esearch reads `(TAG "A1") UID ALL 2,10:11` (RFC 4731). A range costs memory
// only for what it may hold: a server could name four thousand million mails
// in a dozen bytes (A19).
func (s *session) esearch(found map[string][]uint32, tag string, rest []byte) error {
	text := string(rest)
	if strings.HasPrefix(text, "(") {
		inside, after, ok := strings.Cut(text[1:], ")")
		if !ok {
			return s.badSearch()
		}
		if key, value, _ := strings.Cut(inside, " "); strings.EqualFold(key, "TAG") {
			other := strings.Trim(value, `"`)
			if other != tag && !s.inFlight[other] {
				return nil // to nothing that was asked
			}
			tag = other
		}
		text = after
	}
	uids := found[tag]
	words := strings.Fields(text)
	if len(words) > 0 && strings.EqualFold(words[0], "UID") {
		words = words[1:]
	} else if len(words) > 0 {
		return s.badSearch()
	}
	for i := 0; i+1 < len(words); i += 2 {
		if !strings.EqualFold(words[i], "ALL") {
			continue
		}
		err := eachRange(words[i+1], func(low, high uint32) error {
			if uint64(high)-uint64(low)+1 > uint64(s.maxListing-len(uids)) {
				return s.tooMany()
			}
			for uid := uint64(low); uid <= uint64(high); uid++ {
				uids = append(uids, uint32(uid))
			}
			return nil
		})
		if errors.Is(err, errSet) {
			return s.badSearch()
		}
		if err != nil {
			return err
		}
	}
	found[tag] = uids
	return nil
}

func (s *session) badSearch() error {
	return s.wrap("uid search", driver.KindProtocol, errors.New("the reply is not what RFC 4731 says"))
}

func (s *session) tooMany() error {
	return s.wrap("uid search", driver.KindProtocol, fmt.Errorf("the folder holds more than %d mails: %w", s.maxListing, driver.ErrLimit))
}

var errSet = errors.New("not a sequence set")

// eachRange reads a set of numbers without expanding it.
func eachRange(set string, f func(low, high uint32) error) error {
	for part := range strings.SplitSeq(set, ",") {
		low, high, isRange := strings.Cut(part, ":")
		if !isRange {
			high = low
		}
		a, err1 := strconv.ParseUint(low, 10, 32)
		b, err2 := strconv.ParseUint(high, 10, 32)
		if err1 != nil || err2 != nil || a == 0 || b == 0 {
			return errSet
		}
		if a > b {
			a, b = b, a
		}
		if err := f(uint32(a), uint32(b)); err != nil {
			return err
		}
	}
	return nil
}

// wanted is the criterion of the mails that the host wants, "" for all.
func (s *settings) wanted() string {
	var list []string
	if s.unseen {
		list = append(list, "UNSEEN")
	}
	if !s.since.IsZero() {
		list = append(list, "SINCE "+s.since.Format("2-Jan-2006"))
	}
	if s.maxSize > 0 {
		list = append(list, "SMALLER "+strconv.FormatInt(s.maxSize+1, 10))
	}
	if s.after == afterKeyword {
		list = append(list, "UNKEYWORD "+s.keyword)
	}
	if s.criteria != "" {
		list = append(list, "("+s.criteria+")")
	}
	return strings.Join(list, " ")
}

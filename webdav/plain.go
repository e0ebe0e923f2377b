package webdav

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

var plainProps = []prop{{nsDAV, "resourcetype"}, {nsDAV, "getcontentlength"}, {nsDAV, "getetag"}, {nsDAV, "getlastmodified"}}

// listPlain lists the mails of a collection, the one changed longest ago
// first.
func (s *session) listPlain(ctx context.Context, folder davPath) ([]*item, error) {
	type dated struct {
		it *item
		at time.Time
	}
	var list []dated
	held, others := 0, 0
	err := s.propfind(ctx, folder, "1", plainProps, func(r *response) error {
		it, at, err := s.plainItem(folder, r)
		if err != nil {
			return err
		}
		if it == nil {
			if others++; others > maxOthers {
				return errEndless
			}
			return nil
		}
		held += it.bytes()
		if list = append(list, dated{it, at}); len(list) > s.set.maxListing || held > s.set.maxHeld() {
			return s.tooMany("propfind")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b dated) int {
		return cmp.Or(a.at.Compare(b.at), strings.Compare(string(a.it.path), string(b.it.path)))
	})
	items := make([]*item, 0, len(list))
	for _, d := range list {
		items = append(items, d.it)
	}
	return items, nil
}

// plainItem reads a member of a collection; nil if it is no mail.
func (s *session) plainItem(folder davPath, r *response) (*item, time.Time, error) {
	path, err := hrefPath(r.href)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("%w: %w", errXML, err)
	}
	name := path.name()
	kind, _ := r.get(nsDAV, "resourcetype")
	dir := davPath(strings.TrimSuffix(string(path), path.rawName()))
	switch {
	case r.status >= 300, strings.HasSuffix(string(path), "/"), strings.Contains(kind, "collection"),
		!dir.same(folder), strings.HasPrefix(name, "."), strings.ContainsAny(name, "/\x00"):
		return nil, time.Time{}, nil
	case len(name) <= len(s.set.suffix) || !strings.EqualFold(name[len(name)-len(s.set.suffix):], s.set.suffix):
		return nil, time.Time{}, nil
	}
	it := &item{path: path, size: -1}
	if v, ok := r.get(nsDAV, "getcontentlength"); ok {
		if n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64); err == nil && n >= 0 {
			it.size = n
		}
	}
	modified, _ := r.get(nsDAV, "getlastmodified")
	at, _ := http.ParseTime(strings.TrimSpace(modified))
	tag, _ := r.get(nsDAV, "getetag")
	it.etag, it.weak = readETag(tag)
	version := it.etag
	if version == "" {
		version = strings.TrimSpace(modified) + "/" + strconv.FormatInt(it.size, 10)
	}
	it.id, err = idOf(path.rawName() + " " + version)
	return it, at, err
}

// readETag takes the mark of a weak tag off: the same file has a weak tag while
// it is new, and a strong one later (RFC 9110 section 8.8.1).
func readETag(v string) (tag string, weak bool) {
	tag = strings.TrimSpace(v)
	if t, ok := strings.CutPrefix(tag, "W/"); ok {
		tag, weak = t, true
	}
	if len(tag) < 2 || tag[0] != '"' || tag[len(tag)-1] != '"' || !isTag(tag[1:len(tag)-1]) {
		return "", false // what is no tag cannot be compared
	}
	return tag, weak
}

func isTag(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == '"' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// unchanged asks whether a file is still the one that was listed.
func (s *session) unchanged(ctx context.Context, it *item) (bool, error) {
	folder := davPath(strings.TrimSuffix(string(it.path), it.path.rawName()))
	same := false
	err := s.propfind(ctx, it.path, "0", plainProps, func(r *response) error {
		now, _, err := s.plainItem(folder, r)
		same = same || err == nil && now != nil && now.id == it.id
		return err
	})
	if codeOf(err) == http.StatusNotFound {
		return false, nil
	}
	return same, err
}

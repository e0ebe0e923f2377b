package webdav

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/maildriver/maildriver/driver"
)

// maxRestarts bounds how often a listing is begun anew because the folder
// changed under it.
const maxRestarts = 4

var errMoved = errors.New("the folder changes faster than it can be listed")

// search lists a folder of an Exchange, oldest first, in pages.
func (s *session) search(ctx context.Context, folder davPath) ([]*item, error) {
	for range maxRestarts {
		list, err := s.searchOnce(ctx, folder)
		if !errors.Is(err, errMoved) {
			return list, err
		}
	}
	return nil, s.wrap("search", driver.KindTemporary, errMoved)
}

// searchOnce reads all pages. Rows shift when others delete mails meanwhile,
// and one would be left out, which must not look as if it were gone: a total
// that changes, or a mail that comes twice, begins the listing anew.
func (s *session) searchOnce(ctx context.Context, folder davPath) ([]*item, error) {
	var list []*item
	seen := map[driver.ID]bool{}
	total, held := -1, 0
	for {
		before := len(list)
		header, err := s.page(ctx, folder, before, func(it *item) error {
			if seen[it.id] {
				return errMoved
			}
			seen[it.id] = true
			held += it.bytes()
			if list = append(list, it); len(list) > s.set.maxListing || held > s.set.maxHeld() {
				return s.tooMany("search")
			}
			return nil
		})
		if codeOf(err) == http.StatusRequestedRangeNotSatisfiable {
			if before > 0 && before != total {
				return nil, errMoved
			}
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		rng, ok := readContentRange(header.Get("Content-Range"))
		switch {
		case !ok && before == 0:
			return list, nil // all rows came
		case !ok:
			return nil, s.wrap("search", driver.KindProtocol, errors.New("a page does not say which rows it holds"))
		case total >= 0 && rng.total != total, rng.first != before && len(list) > before:
			return nil, errMoved
		}
		total = rng.total
		if len(list) >= total {
			return list, nil
		}
		if len(list) == before {
			return nil, s.wrap("search", driver.KindProtocol, fmt.Errorf("no rows from %d on, of %d", before, total))
		}
	}
}

// page asks for the rows of one page.
func (s *session) page(ctx context.Context, folder davPath, first int, each func(*item) error) (http.Header, error) {
	c := &call{
		method: "SEARCH", path: folder,
		body: searchBody(folder.url(s.origin).String(), prop{nsRepl, "repl-uid"}, prop{nsDAV, "uid"}, prop{nsDAV, "getcontentlength"},
			prop{nsHTTPMail, "read"}, prop{nsExchange, "permanenturl"}),
		header: map[string]string{
			"Content-Type": "text/xml; charset=utf-8", "Brief": "t",
			"Range": fmt.Sprintf("rows=%d-%d", first, first+s.set.pageSize-1),
		},
	}
	return s.multi(ctx, c, func(r *response) error {
		it, err := exchangeItem(r)
		if err != nil {
			return err
		}
		return each(it)
	})
}

// exchangeItem reads a row. The repl-uid names a mail for good; DAV:uid is the
// next best, and the address of last resort is what a mail is called.
func exchangeItem(r *response) (*item, error) {
	it := &item{size: -1, read: r.yes(nsHTTPMail, "read")}
	var err error
	if it.path, err = hrefPath(r.href); err != nil {
		return nil, fmt.Errorf("%w: %w", errXML, err)
	}
	if v, ok := r.get(nsExchange, "permanenturl"); ok && strings.TrimSpace(v) != "" {
		if it.lasting, err = hrefPath(v); err != nil {
			return nil, fmt.Errorf("%w: %w", errXML, err)
		}
	}
	if v, ok := r.get(nsDAV, "getcontentlength"); ok {
		if n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64); err == nil && n >= 0 {
			it.size = n
		}
	}
	name := string(it.path)
	for _, p := range []prop{{nsExchange, "permanenturl"}, {nsDAV, "uid"}, {nsRepl, "repl-uid"}} {
		if v, ok := r.get(p.ns, p.name); ok && strings.TrimSpace(v) != "" {
			name = strings.TrimSpace(v)
		}
	}
	v, _ := r.get(nsRepl, "repl-uid")
	it.uid = strings.Clone(strings.TrimSpace(v))
	it.id, err = idOf(name)
	return it, err
}

// A rowRange is a Content-Range of a SEARCH.
type rowRange struct{ first, last, total int }

// readContentRange reads "rows 0-49; total=812", with "=" for the blank too.
func readContentRange(v string) (rowRange, bool) {
	rest, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(v)), "rows")
	if !ok {
		return rowRange{}, false
	}
	rng, total, ok := strings.Cut(strings.TrimLeft(rest, " ="), ";")
	if !ok {
		return rowRange{}, false
	}
	a, b, ok := strings.Cut(strings.TrimSpace(rng), "-")
	_, n, eq := strings.Cut(total, "=")
	if !ok || !eq {
		return rowRange{}, false
	}
	var r rowRange
	for _, x := range []struct {
		text string
		to   *int
	}{{a, &r.first}, {b, &r.last}, {n, &r.total}} {
		i, err := strconv.Atoi(strings.TrimSpace(x.text))
		if err != nil || i < 0 {
			return rowRange{}, false
		}
		*x.to = i
	}
	return r, true
}

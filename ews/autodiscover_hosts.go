package ews

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/httpx"
	"github.com/maildriver/maildriver/internal/netx"
)

// json asks a host by the way called V2, without credentials.
func (v *discovery) json(ctx context.Context, base *url.URL) finding {
	u := *base
	u.Path = "/autodiscover/autodiscover.json"
	u.RawQuery = url.Values{"Email": {v.address}, "Protocol": {"EWS"}}.Encode()
	key := v.address + "\x00" + u.String()
	if v.seen[key] {
		return finding{}
	}
	v.seen[key] = true
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		v.failed(&u, err)
		return finding{}
	}
	f, err := v.answer(req, true, readJSON)
	if err != nil {
		v.failed(&u, err)
	}
	if f.url != nil { // elsewhere it would be asked by another way
		return finding{}
	}
	return f
}

// readJSON reads the answer: errors come with 200 from some servers and with
// 400 from others.
func readJSON(resp *http.Response) (finding, error) {
	var a struct{ Protocol, Url, ErrorCode, ErrorMessage string } //nolint:revive // the names of the answer
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxSettings)).Decode(&a); err != nil {
		return finding{}, errors.New("the answer is no JSON")
	}
	if u := serviceURL(a.Url); u != nil && a.ErrorCode == "" && (a.Protocol == "" || strings.EqualFold(a.Protocol, "EWS")) {
		return finding{service: u}, nil
	}
	return finding{}, wrap("autodiscover", "", driver.KindPermanent, &ResponseError{Operation: "Autodiscover", Status: resp.StatusCode, Code: a.ErrorCode, Text: a.ErrorMessage})
}

// plain asks over http whether there is a redirection to https. No credentials
// are sent and nothing but the redirection is looked at.
func (v *discovery) plain(ctx context.Context, host string) finding {
	u := &url.URL{Scheme: "http", Host: host, Path: poxPath}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		v.failed(u, err)
		return finding{}
	}
	c, err := v.client(u, true)
	if err != nil {
		v.failed(u, err)
		return finding{}
	}
	defer func() { _ = c.Close() }()
	pctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	resp, err := c.Do(req.WithContext(pctx))
	if err != nil {
		v.failed(u, err)
		return finding{}
	}
	httpx.Drain(resp)
	target, err := resp.Location()
	if err != nil || resp.StatusCode != http.StatusMovedPermanently && resp.StatusCode != http.StatusFound {
		v.failed(u, &ResponseError{Operation: "Autodiscover", Status: resp.StatusCode, Text: "no redirection"})
		return finding{}
	}
	return v.follow(ctx, finding{url: target}, u)
}

// srv asks the DNS. The name it gives is nobody's word but the resolver's, so
// that it counts as a redirection.
func (v *discovery) srv(ctx context.Context, domain string) finding {
	from := &url.URL{Scheme: "dns", Host: "_autodiscover._tcp." + domain}
	pctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	_, records, err := v.o.ews.lookupSRV(pctx, "autodiscover", "tcp", domain)
	if err != nil && len(records) == 0 {
		v.failed(from, fmt.Errorf("no SRV record of %s: %s", netx.Quote(from.Host), netx.Quote(err.Error())))
		return finding{}
	}
	// By priority, the lowest first; the resolver has put those of one priority
	// in an order by weight (RFC 2782). Only the port of https will do.
	slices.SortStableFunc(records, func(a, b *net.SRV) int { return int(a.Priority) - int(b.Priority) })
	i := slices.IndexFunc(records, func(r *net.SRV) bool { return r.Port == 443 && strings.Trim(r.Target, ".") != "" })
	if i < 0 {
		v.failed(from, fmt.Errorf("no SRV record of %s has port 443", netx.Quote(from.Host)))
		return finding{}
	}
	base := &url.URL{Scheme: "https", Host: strings.TrimSuffix(strings.ToLower(records[i].Target), ".")}
	if err := v.permitURL(base, from); err != nil {
		v.refuse(from, err)
		return finding{}
	}
	return v.host(ctx, base)
}

package ews

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"net/http"
	"net/url"

	"github.com/maildriver/maildriver/driver"
)

// Plain old XML: the only Autodiscover of Exchange 2007.
const (
	poxPath     = "/autodiscover/autodiscover.xml"
	poxRequest  = "http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"
	poxResponse = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
)

// pox asks one URL.
func (v *discovery) pox(ctx context.Context, u *url.URL) (finding, error) {
	m := new(markup)
	m.raw(xml.Header, `<Autodiscover xmlns="`, poxRequest, `"><Request>`)
	m.element("EMailAddress", v.address).element("AcceptableResponseSchema", poxResponse)
	m.raw("</Request></Autodiscover>")
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(m.Bytes()))
	if err != nil {
		return finding{}, err
	}
	req.Header.Set("Content-Type", "text/xml; charset=utf-8")
	return v.answer(req, false, func(resp *http.Response) (finding, error) {
		n, err := tree(resp)
		if err != nil {
			return finding{}, err
		}
		return poxFinding(n)
	})
}

// poxFinding reads an answer. Response is in one namespace in a success and in
// another in an error, so that only local names count.
func poxFinding(n *node) (finding, error) {
	if n == nil || n.name.Local != "Autodiscover" {
		return finding{}, errors.New("the answer is none of Autodiscover")
	}
	r := n.kid("Response")
	if e := r.kid("Error"); e != nil {
		return finding{}, poxError(e)
	}
	a := r.kid("Account")
	switch a.kid("Action").value() {
	case "redirectAddr":
		return finding{address: a.kid("RedirectAddr").value()}, nil
	case "redirectUrl":
		u, err := url.Parse(a.kid("RedirectUrl").value())
		if err != nil {
			return finding{}, errors.New("the redirection is no URL")
		}
		return finding{url: u}, nil
	}
	// From outside first: EXPR is what the Internet sees of the server.
	for _, typ := range []string{"EXPR", "EXCH"} {
		for _, p := range a.all() {
			if p.name.Local != "Protocol" || p.kid("Type").value() != typ {
				continue
			}
			for _, name := range []string{"EwsUrl", "ASUrl"} {
				if u := serviceURL(p.kid(name).value()); u != nil {
					return finding{service: u}, nil
				}
			}
		}
	}
	return finding{}, errors.New("the settings hold no URL of Exchange Web Services")
}

// poxError reads an error: 600 is an invalid request, 603 or 604 a busy server.
func poxError(e *node) error {
	code := e.kid("ErrorCode").value()
	re := &ResponseError{Operation: "Autodiscover", Status: http.StatusOK, Code: code, Text: e.kid("Message").value()}
	if code == "603" || code == "604" {
		re.Code = "ErrorServerBusy"
	}
	kind := driver.KindPermanent
	if re.busy() {
		kind = driver.KindTemporary
	}
	return wrap("autodiscover", "", kind, re)
}

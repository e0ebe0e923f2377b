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

// SOAP: Exchange 2010 and later.
const (
	soapPath        = "/autodiscover/autodiscover.svc"
	nsAutodiscover  = "http://schemas.microsoft.com/exchange/2010/Autodiscover"
	nsAddressing    = "http://www.w3.org/2005/08/addressing"
	getUserSettings = nsAutodiscover + "/Autodiscover/GetUserSettings"
)

// soap asks one URL.
func (v *discovery) soap(ctx context.Context, u *url.URL) (finding, error) {
	m := new(markup)
	m.raw(xml.Header, `<soap:Envelope xmlns:soap="`, nsSOAP, `" xmlns:a="`, nsAutodiscover, `" xmlns:wsa="`, nsAddressing, `"><soap:Header>`)
	m.element("a:RequestedServerVersion", Exchange2010.String()).element("wsa:Action", getUserSettings).element("wsa:To", u.String())
	m.raw("</soap:Header><soap:Body><a:GetUserSettingsRequestMessage><a:Request><a:Users><a:User>").element("a:Mailbox", v.address)
	m.raw("</a:User></a:Users><a:RequestedSettings>").element("a:Setting", "ExternalEwsUrl").element("a:Setting", "InternalEwsUrl")
	m.raw("</a:RequestedSettings></a:Request></a:GetUserSettingsRequestMessage></soap:Body></soap:Envelope>")
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(m.Bytes()))
	if err != nil {
		return finding{}, err
	}
	req.Header.Set("Content-Type", "text/xml; charset=utf-8")
	req.Header.Set("SOAPAction", `"`+getUserSettings+`"`)
	return v.answer(req, false, func(resp *http.Response) (finding, error) {
		n, err := tree(resp)
		if err != nil {
			return finding{}, err
		}
		return soapFinding(n)
	})
}

// soapFinding reads an answer. There is an ErrorCode for the answer and one for
// the user in it; the redirections are the user's.
func soapFinding(n *node) (finding, error) {
	r := n.kid("Body", "GetUserSettingsResponseMessage", "Response")
	if r == nil {
		return finding{}, errors.New("the answer is none of Autodiscover")
	}
	if code := r.kid("ErrorCode").value(); code != "" && code != "NoError" {
		return finding{}, soapError(r, code)
	}
	user := r.kid("UserResponses", "UserResponse")
	switch code := user.kid("ErrorCode").value(); code {
	case "", "NoError":
	case "RedirectAddress":
		return finding{address: user.kid("RedirectTarget").value()}, nil
	case "RedirectUrl":
		u, err := url.Parse(user.kid("RedirectTarget").value())
		if err != nil {
			return finding{}, errors.New("the redirection is no URL")
		}
		return finding{url: u}, nil
	default:
		return finding{}, soapError(user, code)
	}
	for _, want := range []string{"ExternalEwsUrl", "InternalEwsUrl"} {
		for _, s := range user.kid("UserSettings").all() {
			if s.kid("Name").value() != want {
				continue
			}
			if u := serviceURL(s.kid("Value").value()); u != nil {
				return finding{service: u}, nil
			}
		}
	}
	return finding{}, errors.New("the settings hold no URL of Exchange Web Services")
}

func soapError(n *node, code string) error {
	re := &ResponseError{Operation: "Autodiscover", Status: http.StatusOK, Code: code, Text: n.kid("ErrorMessage").value()}
	kind := driver.KindPermanent
	if code == "ServerBusy" {
		re.Code, kind = "ErrorServerBusy", driver.KindTemporary
	}
	return wrap("autodiscover", "", kind, re)
}

package ewstest

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
)

const (
	poxPath  = "/autodiscover/autodiscover.xml"
	soapPath = "/autodiscover/autodiscover.svc"
	jsonPath = "/autodiscover/autodiscover.json"
)

// authorized checks the credentials and answers 401 without.
func (s *Server) authorized(w http.ResponseWriter, r *http.Request) bool {
	_, challenges, ok := s.authenticate(r)
	if !ok {
		for _, c := range challenges {
			w.Header().Add("WWW-Authenticate", c)
		}
		w.WriteHeader(http.StatusUnauthorized)
	}
	return ok
}

// asked gives the first text of an element in a request.
func asked(r *http.Request, name string) string {
	body, _ := io.ReadAll(io.LimitReader(r.Body, maxRequest))
	var root element
	if xml.Unmarshal(body, &root) != nil {
		return ""
	}
	for _, v := range root.values(name, "") {
		return v
	}
	return ""
}

func (s *Server) pox(w http.ResponseWriter, r *http.Request) {
	if !s.authorized(w, r) {
		return
	}
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	if asked(r, "EMailAddress") == "" {
		_, _ = io.WriteString(w, `<?xml version="1.0" encoding="utf-8"?><Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"><Response><Error Time="10:00:00" Id="1"><ErrorCode>600</ErrorCode><Message>Invalid Request</Message></Error></Response></Autodiscover>`)
		return
	}
	_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="utf-8"?><Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"><Response xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"><Account><AccountType>email</AccountType><Action>settings</Action><Protocol><Type>EXPR</Type><EwsUrl>%s</EwsUrl></Protocol></Account></Response></Autodiscover>`, escape(s.URL))
}

func (s *Server) soap(w http.ResponseWriter, r *http.Request) {
	if levelNumber(s.level()) < 2 {
		http.NotFound(w, r)
		return
	}
	if !s.authorized(w, r) {
		return
	}
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	_, _ = fmt.Fprintf(w, `<s:Envelope xmlns:s="%s"><s:Body><GetUserSettingsResponseMessage xmlns="http://schemas.microsoft.com/exchange/2010/Autodiscover"><Response><ErrorCode>NoError</ErrorCode><UserResponses><UserResponse><ErrorCode>NoError</ErrorCode><RedirectTarget/><UserSettings><UserSetting><Name>ExternalEwsUrl</Name><Value>%s</Value></UserSetting></UserSettings></UserResponse></UserResponses></Response></GetUserSettingsResponseMessage></s:Body></s:Envelope>`, nsSOAP, escape(s.URL))
}

func (s *Server) json(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"Protocol": "EWS", "Url": s.URL})
}

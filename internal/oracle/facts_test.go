package oracle

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/maildriver/maildriver/mime"
)

// facts is what every parser is asked about a message. Text is compared with
// runs of blanks as one and line ends as "\n".
type facts struct {
	Subject   string   `json:"subject"`
	MessageID string   `json:"message_id"`
	Date      int64    `json:"date"`
	From      []person `json:"from"`
	To        []person `json:"to"`
	Cc        []person `json:"cc"`
	Structure string   `json:"structure"`
	Leaves    []leaf   `json:"leaves"`
}

type person struct {
	Name string `json:"name"`
	Addr string `json:"addr"`
}

type leaf struct {
	Type        string `json:"type"`
	Filename    string `json:"filename"`
	Disposition string `json:"disposition"`
	CID         string `json:"cid"`
	// Digest is the SHA-256 of the content; of text its UTF-8 form with "\n"
	// line ends and none at the end.
	Digest string `json:"digest"`
}

func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

func digest(data string, text bool) string {
	if text {
		data = strings.ReplaceAll(strings.ReplaceAll(data, "\r\n", "\n"), "\r", "\n")
		data = strings.TrimRight(data, "\n")
	}
	sum := sha256.Sum256([]byte(data))
	return hex.EncodeToString(sum[:8])
}

func isText(typ string) bool { return strings.HasPrefix(typ, "text/") }

func people(list []mime.Address) []person {
	out := []person{}
	for _, a := range list {
		out = append(out, person{squeeze(a.Name), bare(a.Addr)})
	}
	return out
}

// bare leaves out the quotes of a local part; net/mail, which enmime uses,
// keeps none.
func bare(addr string) string {
	local, domain, ok := mime.SplitAddr(addr)
	if inner, quoted := strings.CutPrefix(local, `"`); ok && quoted {
		return strings.TrimSuffix(inner, `"`) + "@" + domain
	}
	return addr
}

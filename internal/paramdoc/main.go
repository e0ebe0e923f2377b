// Paramdoc writes docs/parameters.md from the tables of the drivers.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/ews"
	"github.com/maildriver/maildriver/imap"
	"github.com/maildriver/maildriver/pop3"
	"github.com/maildriver/maildriver/smtp"
	"github.com/maildriver/maildriver/webdav"
)

func main() {
	var b strings.Builder
	b.WriteString(`# Parameters

Generated from the drivers' tables by ` + "`go generate`" + `; do not edit.

Names are compared without regard to case, spaces, '-' and '_'. Booleans are TRUE or FALSE (also YES/NO, ON/OFF, 1/0);
times are seconds, or a Go duration such as 1m30s; empty text counts as not given. A default marked * is ours: no vendor
document states it. A secret may be given by its place, env:NAME or file:PATH, from where it is read for each session; text:
goes before one that begins like that itself. "Session" is the attribute of a session description (create_session) that means the same; it counts
only for a driver opened alone, not in a pair.
`)
	table(&b, "Driver `POP3`", pop3.Params.Rows)
	table(&b, "Driver `IMAP`", imap.Params.Rows)
	table(&b, "Driver `SMTP`", smtp.Params.Rows)
	table(&b, "Driver `WEBDAV`", webdav.Params.Rows)
	table(&b, "Driver `EWS`", ews.Params.Rows)
	b.WriteString("\n## Driver `Internet SMTP/POP3 Server`\n\nThe pair of both: all rows of POP3 and of SMTP, without the session names.\n")
	b.WriteString("\n## Driver `Internet SMTP/IMAP Server`\n\nThe pair of both: all rows of IMAP and of SMTP, without the session names.\n")
	if err := os.WriteFile("docs/parameters.md", []byte(b.String()), 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func table(b *strings.Builder, title string, rows []driver.Param) {
	fmt.Fprintf(b, "\n## %s\n\n| name | also | session | type | default | what it does |\n|---|---|---|---|---|---|\n", title)
	for _, r := range rows {
		def := r.Default
		switch {
		case r.Required:
			def = "required"
		case def == "":
			def = "none"
		case r.Ours:
			def += " *"
		}
		typ := r.Type.String()
		if r.Min != 0 || r.Max != 0 {
			typ += fmt.Sprintf(", %d to %d", r.Min, r.Max)
		}
		if len(r.Choices) > 0 {
			typ = strings.Join(r.Choices, ", ")
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s |\n", r.Name, strings.Join(r.Aliases, ", "), r.Session, typ, def, r.Text)
	}
}

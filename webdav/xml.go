package webdav

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// A prop names a property.
type prop struct{ ns, name string }

// escape makes text fit for XML: what XML cannot hold becomes U+FFFD.
func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder does not fail
	return b.String()
}

const xmlHead = `<?xml version="1.0" encoding="utf-8"?>` + "\n"

// propfindBody asks for properties (RFC 4918 section 9.1).
func propfindBody(props ...prop) string {
	var b strings.Builder
	b.WriteString(xmlHead + `<D:propfind xmlns:D="DAV:"><D:prop>`)
	for _, p := range props {
		if p.ns == nsDAV {
			fmt.Fprintf(&b, `<D:%s/>`, p.name)
		} else {
			fmt.Fprintf(&b, `<x:%s xmlns:x="%s"/>`, p.name, escape(p.ns))
		}
	}
	b.WriteString(`</D:prop></D:propfind>`)
	return b.String()
}

// proppatchBody sets one property, of an Exchange type if typ is not "" (RFC
// 4918 section 9.2).
func proppatchBody(p prop, typ, value string) string {
	if typ != "" {
		typ = fmt.Sprintf(` xmlns:T="%s" T:dt="%s"`, nsTypes, typ)
	}
	return xmlHead + fmt.Sprintf(`<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><x:%s xmlns:x="%s"%s>%s</x:%s></D:prop></D:set></D:propertyupdate>`,
		p.name, escape(p.ns), typ, escape(value), p.name)
}

// searchBody asks for the mails of a folder, oldest first, in Exchange's SQL
// ([MS-WDVSE]). Names are in double quotes, strings in single ones.
func searchBody(folder string, props ...prop) string {
	names := make([]string, 0, len(props))
	for _, p := range props {
		names = append(names, `"`+p.ns+p.name+`"`)
	}
	sql := `SELECT ` + strings.Join(names, ", ") +
		` FROM SCOPE('SHALLOW TRAVERSAL OF "` + strings.ReplaceAll(folder, `'`, `''`) + `"')` +
		` WHERE "DAV:isfolder" = false AND "DAV:ishidden" = false` +
		` ORDER BY "urn:schemas:httpmail:datereceived" ASC`
	return xmlHead + `<D:searchrequest xmlns:D="DAV:"><D:sql>` + escape(sql) + `</D:sql></D:searchrequest>`
}

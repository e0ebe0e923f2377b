package mime

import (
	"strings"
	"unicode/utf8"
)

// describe fills in what the header says about the part.
func (p *parser) describe(part *Part, defaultType string) {
	h := &part.Header
	var ctype, cte, disp, cid string
	var types, ctes, froms int
	eightBit := false
	for i := range h.fields {
		f := &h.fields[i]
		name := h.raw[f.start:f.nameEnd]
		switch len(name) {
		case 4:
			if strings.EqualFold(name, "From") {
				froms++
			}
		case 10:
			if strings.EqualFold(name, "Content-ID") && cid == "" {
				cid = unfold(h.raw[f.value:f.end])
			}
		case 12:
			if strings.EqualFold(name, "Content-Type") {
				if types++; types == 1 {
					ctype = unfold(h.raw[f.value:f.end])
				}
			}
		case 19:
			if strings.EqualFold(name, "Content-Disposition") && disp == "" {
				disp = unfold(h.raw[f.value:f.end])
			}
		case 25:
			if strings.EqualFold(name, "Content-Transfer-Encoding") {
				if ctes++; ctes == 1 {
					cte = unfold(h.raw[f.value:f.end])
				}
			}
		}
	}
	for _, code := range controlDefects(h.raw) {
		part.defect(code, part.Offset, "")
	}
	if !utf8.ValidString(h.raw) {
		eightBit = true
		part.defect(DefectHeader8Bit, part.Offset, "")
	}
	if types > 1 || ctes > 1 {
		part.defect(DefectDuplicateField, part.Offset, "Content-Type or Content-Transfer-Encoding stands twice")
	}
	if len(h.fields) == 0 && part.Parent == nil {
		part.defect(DefectNoHeader, part.Offset, "")
	}
	if froms > 1 || froms == 1 && part.Parent == nil && strings.IndexByte(h.Get("From"), ',') >= 0 && !h.Has("Sender") && len(h.Addresses("From")) > 1 {
		part.defect(DefectMultipleFrom, part.Offset, "")
	}
	p.describeType(part, ctype, types > 0, defaultType)
	if eightBit {
		h.charset = part.Charset
	}
	part.Encoding = transferEncoding(cte)
	if !knownEncoding(part.Encoding) {
		part.defect(DefectEncoding, part.Offset, quoteShort(cte))
	}
	if disp != "" {
		var bad string
		part.Disposition, part.DispositionParams, bad = parseParams(disp, h.charset)
		if bad != "" {
			part.defect(DefectParameter, part.Offset, "Content-Disposition: "+bad)
		}
	}
	if cid != "" {
		if ids := appendMessageIDs(nil, cid); len(ids) > 0 {
			part.ContentID = ids[0]
		}
	}
	part.Name = part.DispositionParams["filename"]
	if part.Name == "" {
		part.Name = part.Params["name"]
	}
	part.checkName()
}

// checkName tells of a name that is no safe file name.
func (p *Part) checkName() {
	if p.Name != "" && !isSafeName(p.Name) {
		p.defect(DefectUnsafeName, p.Offset, quoteShort(p.Name))
	}
}

// describeType reads the Content-Type. One that can't be read counts as
// text/plain (RFC 2045 5.2).
func (p *parser) describeType(part *Part, ctype string, given bool, defaultType string) {
	part.Type = defaultType
	if given {
		var bad string
		var t string
		t, part.Params, bad = parseParams(ctype, part.Header.charset)
		if bad != "" {
			part.defect(DefectParameter, part.Offset, "Content-Type: "+bad)
		}
		if isMediaType(t) {
			part.Type = t
		} else {
			part.Type = "text/plain"
			part.defect(DefectContentType, part.Offset, quoteShort(ctype))
		}
	}
	part.Charset = strings.ToLower(strings.TrimSpace(part.Params["charset"]))
}

// isMediaType reports whether t is "type/subtype" of tokens (RFC 2045 5.1).
func isMediaType(t string) bool {
	slash := strings.IndexByte(t, '/')
	if slash <= 0 || slash == len(t)-1 || strings.IndexByte(t[slash+1:], '/') >= 0 {
		return false
	}
	for i := 0; i < len(t); i++ {
		if c := t[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("()<>@,;:\\\"[]?=", c) >= 0 {
			return false
		}
	}
	return true
}

// transferEncoding reads a Content-Transfer-Encoding, with the comments,
// quotes and semicolons that senders add.
func transferEncoding(s string) string {
	if s == "" {
		return ""
	}
	s = strings.ToLower(strings.Trim(dropComments(s), " \t\"';"))
	if i := strings.IndexAny(s, " \t;"); i >= 0 {
		s = s[:i]
	}
	return s
}

func knownEncoding(s string) bool {
	switch s {
	case "", "7bit", "8bit", "binary", "base64", "quoted-printable", "x-uuencode", "uuencode", "x-uue", "uue":
		return true
	}
	return false
}

// controlDefects tells which kinds of control characters a header has.
func controlDefects(raw string) []DefectCode {
	var nul, cr, other bool
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c >= ' ' && c != 0x7f || c == '\t' || c == '\n':
		case c == 0:
			nul = true
		case c == '\r':
			cr = cr || i+1 < len(raw) && raw[i+1] != '\n'
		default:
			other = true
		}
	}
	var codes []DefectCode
	if nul {
		codes = append(codes, DefectNUL)
	}
	if cr {
		codes = append(codes, DefectLineEnding)
	}
	if other {
		codes = append(codes, DefectHeaderControl)
	}
	return codes
}

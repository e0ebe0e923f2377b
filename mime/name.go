package mime

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxNameBytes is what common file systems take as one name.
const maxNameBytes = 255

// SafeName makes a file name of what a sender offers: only the last element of
// a path; no separators, control characters, characters that change the
// direction or have no width, and none that Windows forbids; no leading dots,
// no trailing dots and blanks; no device names of Windows; at most 255 bytes of
// UTF-8 with the extension kept. It is never empty.
func SafeName(name string) string {
	name = strings.ToValidUTF8(name, "_")
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	name = strings.Map(func(r rune) rune {
		switch {
		case unsafeRune(r):
			return '_'
		case unicode.IsSpace(r):
			return ' '
		}
		return r
	}, name)
	name = strings.TrimLeft(name, ". ")
	name = strings.TrimRight(name, ". ")
	if name == "" {
		return "unnamed"
	}
	if isDeviceName(name) {
		name = "_" + name
	}
	return cutName(name)
}

func isSafeName(name string) bool { return SafeName(name) == name }

// unsafeRune reports characters that have no place in a file name.
func unsafeRune(r rune) bool {
	if r < ' ' || r >= 0x7f && r < 0xa0 || strings.ContainsRune(`<>:"|?*`, r) {
		return true
	}
	// Cf holds the bidirectional overrides, zero-width joiners and marks, and
	// the byte order mark; Zl and Zp the line and paragraph separators.
	return unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co, unicode.Cs)
}

// isDeviceName reports the names that Windows keeps for devices, whatever
// extension they have.
func isDeviceName(name string) bool {
	base, _, _ := strings.Cut(name, ".")
	base = strings.ToUpper(strings.TrimRight(base, " "))
	switch base {
	case "CON", "PRN", "AUX", "NUL", "CLOCK$", "CONIN$", "CONOUT$":
		return true
	}
	if rest, ok := strings.CutPrefix(base, "COM"); ok || strings.HasPrefix(base, "LPT") {
		if !ok {
			rest = base[3:]
		}
		return len(rest) == 1 && rest[0] >= '0' && rest[0] <= '9' || rest == "¹" || rest == "²" || rest == "³"
	}
	return false
}

// cutName shortens a name to maxNameBytes at a character, keeping a short
// extension.
func cutName(name string) string {
	if len(name) <= maxNameBytes {
		return name
	}
	ext := ""
	if i := strings.LastIndexByte(name, '.'); i >= 0 && len(name)-i <= 20 {
		ext = name[i:]
	}
	n := maxNameBytes - len(ext)
	for n > 0 && !utf8.RuneStart(name[n]) {
		n--
	}
	return strings.TrimRight(name[:n], ". ") + ext
}

// extensions are fixed here rather than asked from the system, so that names
// do not depend on the machine.
var extensions = map[string]string{
	"text/plain": "txt", "text/html": "html", "text/csv": "csv", "text/calendar": "ics", "text/xml": "xml", "text/x-vcard": "vcf",
	"text/vcard": "vcf", "text/richtext": "rtx", "text/enriched": "txt", "text/rtf": "rtf", "text/css": "css", "text/markdown": "md",
	"text/x-amp-html": "html", "text/rfc822-headers": "txt", "text/x-patch": "patch", "text/x-diff": "diff",
	"image/jpeg": "jpg", "image/jpg": "jpg", "image/pjpeg": "jpg", "image/png": "png", "image/x-png": "png", "image/gif": "gif", "image/bmp": "bmp", "image/tiff": "tif",
	"image/svg+xml": "svg", "image/webp": "webp", "image/heic": "heic", "image/x-icon": "ico", "image/vnd.microsoft.icon": "ico",
	"audio/mpeg": "mp3", "audio/wav": "wav", "audio/x-wav": "wav", "audio/basic": "au", "audio/ogg": "ogg", "audio/mp4": "m4a", "audio/amr": "amr",
	"video/mp4": "mp4", "video/mpeg": "mpg", "video/quicktime": "mov", "video/webm": "webm", "video/x-msvideo": "avi", "video/3gpp": "3gp",
	"application/pdf": "pdf", "application/zip": "zip", "application/x-zip-compressed": "zip", "application/gzip": "gz", "application/x-gzip": "gz",
	"application/json": "json", "application/xml": "xml", "application/rtf": "rtf", "application/msword": "doc",
	"application/vnd.ms-excel": "xls", "application/vnd.ms-powerpoint": "ppt", "application/ms-tnef": "dat", "application/vnd.ms-tnef": "dat",
	"application/vnd.openxmlformats-officedocument.wordprocessingml.document":   "docx",
	"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet":         "xlsx",
	"application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
	"application/vnd.oasis.opendocument.text":                                   "odt", "application/vnd.oasis.opendocument.spreadsheet": "ods",
	"application/pgp-signature": "asc", "application/pgp-encrypted": "asc", "application/pgp-keys": "asc",
	"application/pkcs7-signature": "p7s", "application/x-pkcs7-signature": "p7s", "application/pkcs7-mime": "p7m", "application/x-pkcs7-mime": "p7m",
	"application/postscript": "ps", "application/x-tar": "tar", "application/ics": "ics", "application/octet-stream": "bin", "application/mbox": "mbox",
	"message/rfc822": "eml", "message/global": "eml", "message/delivery-status": "txt", "message/global-delivery-status": "txt",
	"message/disposition-notification": "txt", "message/feedback-report": "txt", "message/global-headers": "txt",
}

// SynthesizedName gives a part without a name one made of its type, e.g.
// "text.html" or "image.png"; an unknown type such as application/x-foo gives
// "application.x-foo". The result is safe as a file name.
func SynthesizedName(p *Part) string {
	major, minor, ok := strings.Cut(p.Type, "/")
	if !ok {
		return "text.txt"
	}
	if ext := extensions[p.Type]; ext != "" {
		return SafeName(major + "." + ext)
	}
	return SafeName(major + "." + minor)
}

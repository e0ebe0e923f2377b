package mime

// A decoder undoes a transfer encoding block by block. Nothing in its input is
// an error: what is wrong is skipped or kept, and defect says so.
type decoder interface {
	// decode appends the decoded form of src to dst.
	decode(dst, src []byte) []byte
	// finish appends what is left at the end.
	finish(dst []byte) []byte
	// defect is what was wrong so far, "" for nothing.
	defect() (DefectCode, string)
}

// newDecoder gives the decoder of a transfer encoding, nil for those that
// change nothing.
func newDecoder(encoding string) decoder {
	switch encoding {
	case "base64":
		return new(base64Decoder)
	case "quoted-printable":
		return new(qpDecoder)
	case "x-uuencode", "uuencode", "x-uue", "uue":
		return new(uuDecoder)
	}
	return nil
}

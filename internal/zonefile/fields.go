package zonefile

import (
	"errors"
	"strings"

	"port53/internal/wire"
)

// ends is the fault of an entry that ends before what should follow.
func (p *parser) ends(what string) *fault {
	f := faultf(p.end(), "entry ends where %s should follow", what)
	f.missing = what
	return f
}

// lacking says of data that ends too early which record it is of, and which of its fields is missing; i is the
// field's number, or -1.
func lacking(t wire.Type, i int, err error) error {
	f, ok := errors.AsType[*fault](err)
	if !ok || f.missing == "" {
		return err
	}
	what := f.missing
	if names := fieldNames(t); i >= 0 && i < len(names) && names[i] != "" {
		what = "the " + names[i]
		if !strings.Contains(f.missing, names[i]) {
			what += " (" + f.missing + ")"
		}
	}
	return faultf(f.at, "%s record is incomplete: %s is missing", t, what)
}

// fieldNames returns what the fields of a type are called in its RFC, one for each of [wire.Type.Fields]; empty
// where what it should be says it. A type of one field needs no names.
//
// In one piece: it is a table of types.
func fieldNames(t wire.Type) []string {
	switch t {
	case wire.TypeSOA:
		return []string{"MNAME", "RNAME", "serial", "refresh", "retry", "expire", "minimum"}
	case wire.TypeWKS:
		return []string{"address", "protocol", ""}
	case wire.TypeHINFO:
		return []string{"CPU", "operating system"}
	case wire.TypeMINFO:
		return []string{"RMAILBX", "EMAILBX"}
	case wire.TypeMX:
		return []string{"preference", "exchange"}
	case wire.TypeRP:
		return []string{"mailbox", "name of the TXT record"}
	case wire.TypeAFSDB:
		return []string{"subtype", "host name"}
	case wire.TypeISDN:
		return []string{"address", "subaddress"}
	case wire.TypeRT:
		return []string{"preference", "intermediate host"}
	case wire.TypeSIG, wire.TypeRRSIG:
		return []string{
			"type covered", "algorithm", "number of labels", "original TTL", "expiration", "inception", "key tag",
			"signer's name", "signature",
		}
	case wire.TypeKEY, wire.TypeDNSKEY, wire.TypeCDNSKEY, wire.TypeRKEY:
		return []string{"flags", "protocol", "algorithm", "public key"}
	case wire.TypePX:
		return []string{"preference", "MAP822", "MAPX400"}
	case wire.TypeGPOS:
		return []string{"longitude", "latitude", "altitude"}
	case wire.TypeNXT:
		return []string{"next name", ""}
	case wire.TypeSRV:
		return []string{"priority", "weight", "port", "target"}
	case wire.TypeNAPTR:
		return []string{"order", "preference", "flags", "services", "regexp", "replacement"}
	case wire.TypeKX:
		return []string{"preference", "exchanger"}
	case wire.TypeCERT:
		return []string{"certificate type", "key tag", "algorithm", "certificate"}
	case wire.TypeDS, wire.TypeCDS, wire.TypeTA, wire.TypeDLV:
		return []string{"key tag", "algorithm", "digest type", "digest"}
	case wire.TypeSSHFP:
		return []string{"algorithm", "fingerprint type", "fingerprint"}
	case wire.TypeNSEC:
		return []string{"next name", ""}
	case wire.TypeNSEC3:
		return []string{"hash algorithm", "flags", "iterations", "", "", ""}
	case wire.TypeNSEC3PARAM:
		return []string{"hash algorithm", "flags", "iterations", ""}
	case wire.TypeTLSA, wire.TypeSMIMEA:
		return []string{"certificate usage", "selector", "matching type", "certificate association data"}
	case wire.TypeHIP:
		return []string{"", ""}
	case wire.TypeTALINK:
		return []string{"previous name", "next name"}
	case wire.TypeCSYNC:
		return []string{"SOA serial", "flags", ""}
	case wire.TypeZONEMD:
		return []string{"serial", "scheme", "hash algorithm", "digest"}
	case wire.TypeSVCB, wire.TypeHTTPS:
		return []string{"priority", "target", ""}
	case wire.TypeDSYNC:
		return []string{"type", "scheme", "port", "target"}
	case wire.TypeNID, wire.TypeL64:
		return []string{"preference", ""}
	case wire.TypeL32:
		return []string{"preference", "locator"}
	case wire.TypeLP:
		return []string{"preference", "name"}
	case wire.TypeURI:
		return []string{"priority", "weight", "target"}
	case wire.TypeCAA:
		return []string{"flags", "tag", "value"}
	case wire.TypeDOA:
		return []string{"enterprise", "type", "location", "media type", "data"}
	}
	return nil
}

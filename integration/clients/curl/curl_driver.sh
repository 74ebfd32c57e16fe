#!/bin/bash
# Signs with openssl and sends with curl, like a reader of RFC 5849 by hand. It talks with the Go
# test as the Python drivers do: see ../python/driver.py.
set -euo pipefail

args=$1

# One jq for many values: each start of it costs as much as a signature.
eval "$(jq -r '@sh "method=\(.method) placement=\(.placement) consumer=\(.consumer) dir=\(.dir)
	secret=\(.consumer_secret) token=\(.token) token_secret=\(.secret) rsa_key=\(.rsa_key) callback=\(.callback)
	request_token=\(.endpoints.request_token) authorize=\(.endpoints.authorize)
	access_token=\(.endpoints.access_token)"' <<<"$args")"
printf '%s\n' "$rsa_key" >"$dir/key.pem"

# encode implements section 3.6. (jq's @uri leaves !*'() unchanged in Debian's version.)
encode() {
	local LC_ALL=C i c encoded=
	if [[ $1 != *[!a-zA-Z0-9._~-]* ]]; then
		printf %s "$1"
		return
	fi
	for ((i = 0; i < ${#1}; i++)); do
		c=${1:i:1}
		case $c in
		[a-zA-Z0-9._~-]) ;;
		*) printf -v c %%%02X "'$c" ;;
		esac
		encoded+=$c
	done
	printf %s "$encoded"
}

# signature prints the signature of METHOD URL PARAMETER..., whose parameters are encoded
# NAME=VALUE.
signature() {
	local verb=$1 url=$2 key base normalized hash
	shift 2
	key=$(encode "$secret")\&$(encode "$token_secret")
	if [ "$method" = PLAINTEXT ]; then
		printf %s "$key"
		return
	fi
	normalized=$(printf '%s\n' "$@" | LC_ALL=C sort -t= -k1,1 -k2 | paste -sd\&)
	base=$verb\&$(encode "${url%%\?*}")\&$(encode "$normalized")
	hash=$(tr A-Z a-z <<<"${method#*-}")
	case $method in
	HMAC-*) printf %s "$base" | openssl dgst "-$hash" -hmac "$key" -binary | base64 -w0 ;;
	RSA-*) printf %s "$base" | openssl dgst "-$hash" -sign "$dir/key.pem" -binary | base64 -w0 ;;
	esac
}

# request sends METHOD URL with the credentials, writes the status to the file "status", and prints
# the answer. OAUTH has further oauth_ parameters, FORM the form's parameters, both encoded; the
# other arguments are curl's.
request() {
	local verb=$1 url=$2 query=() oauth=() all=() p header= send=()
	shift 2
	# The query of these URLs is encoded as in the RFC, so its parameters are signed unchanged.
	if [[ $url == *\?* ]]; then
		IFS=\& read -ra query <<<"${url#*\?}"
	fi
	oauth=(
		"oauth_consumer_key=$(encode "$consumer")" "oauth_signature_method=$method"
		"oauth_timestamp=$(date +%s)" "oauth_nonce=$(openssl rand -hex 16)" oauth_version=1.0
		"${OAUTH[@]}"
	)
	if [ -n "$token" ]; then
		oauth+=("oauth_token=$(encode "$token")")
	fi
	all=("${oauth[@]}" "${query[@]}" "${FORM[@]}")
	oauth+=("oauth_signature=$(encode "$(signature "$verb" "$url" "${all[@]}")")")
	case $placement in
	header)
		for p in "${oauth[@]}"; do
			header+=", ${p%%=*}=\"${p#*=}\""
		done
		send=(-H "Authorization: OAuth ${header#, }")
		;;
	query)
		p=$(IFS=\& && echo "${oauth[*]}")
		[[ $url == *\?* ]] && url+=\&$p || url+=\?$p
		;;
	body)
		for p in "${oauth[@]}"; do
			send+=(--data "$p")
		done
		;;
	esac
	curl -sS -X "$verb" "$url" "${send[@]}" "$@" -o "$dir/answer" -w '%{http_code}' >"$dir/status"
	cat "$dir/answer"
}

# field prints the value of a name in a form. The values that are needed here contain no escapes.
field() { tr \& '\n' | sed -n "s/^$1=//p"; }

# take_token makes the answer of a token endpoint the present token.
take_token() {
	if [ "$(cat "$dir/status")" != 200 ]; then
		cat "$dir/answer" >&2
		exit 1
	fi
	token=$(field oauth_token <"$dir/answer") token_secret=$(field oauth_token_secret <"$dir/answer")
}

OAUTH=() FORM=()
confirmed=
if [ -n "$callback" ]; then
	OAUTH=("oauth_callback=$(encode "$callback")")
	request POST "$request_token" >/dev/null
	take_token
	confirmed=$(field oauth_callback_confirmed <"$dir/answer")
	jq -nc --arg token "$token" --arg url "$authorize?oauth_token=$token" \
		'{ask: "authorize", request_token: $token, url: $url}'
	read -r answer
	verifier=$(jq -r '.verifier // (.redirect | split("?")[1])' <<<"$answer")
	if [[ $verifier == *oauth_verifier=* ]]; then
		verifier=$(field oauth_verifier <<<"$verifier")
	fi
	OAUTH=("oauth_verifier=$(encode "$verifier")")
	request POST "$access_token" >/dev/null
	take_token
	OAUTH=()
fi

sent=$dir/sent
: >"$sent"
while IFS= read -r values; do
	eval "$values" # of name, kind, verb, url, type, text, file, and the whole as request
	one() { jq -r "$1" <<<"$request"; }
	FORM=() body=()
	case $kind in
	form)
		while IFS=$'\t' read -r field value; do
			FORM+=("$(encode "$field")=$(encode "$value")")
			body+=(--data-urlencode "$(encode "$field")=$value")
		done < <(one '.form[] | @tsv')
		;;
	multipart)
		while IFS=$'\t' read -r field value; do
			body+=(--form-string "$field=$value")
		done < <(one '.form[] | @tsv')
		one '.files[0][3]' >"$dir/file"
		truncate -s -1 "$dir/file" # jq ends with a newline
		body+=(-F "$(one '.files[0] | "\(.[0])=@'"$dir/file"';filename=\(.[1]);type=\(.[2])"')")
		;;
	json) body=(-H "Content-Type: $type" --data-binary "$text") ;;
	upload) body=(-H "Content-Type: $type" --data-binary "@$file") ;;
	esac
	request "$verb" "$url" "${body[@]}" >/dev/null
	printf '{"name": "%s", "status": %s}\n' "$name" "$(cat "$dir/status")" >>"$sent"
done < <(jq -r '.requests[] | @sh "name=\(.name) kind=\(.kind) verb=\(.method) url=\(.url) " +
	@sh "type=\(.content_type) text=\(.body) file=\(.body_file) request=\(tojson)"' <<<"$args")

jq -nc --arg confirmed "$confirmed" --arg token "$token" --arg secret "$token_secret" \
	--slurpfile sent "$sent" \
	'{result: {confirmed: $confirmed, token: $token, secret: $secret, sent: $sent}}'

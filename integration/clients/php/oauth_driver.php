<?php
// Drives PHP's extension OAuth (PECL) as its manual says. It talks with the Go test as the Python
// drivers do: see ../python/driver.py.

function say(array $object): void
{
    echo json_encode($object, JSON_THROW_ON_ERROR), "\n";
}

function ask(string $what, array $values): array
{
    say(['ask' => $what] + $values);
    $line = fgets(STDIN);
    if ($line === false) {
        throw new Exception('the test has gone');
    }
    return json_decode($line, true, flags: JSON_THROW_ON_ERROR);
}

function client(array $args): OAuth
{
    $type = [
        'header' => OAUTH_AUTH_TYPE_AUTHORIZATION,
        'query' => OAUTH_AUTH_TYPE_URI,
        'body' => OAUTH_AUTH_TYPE_FORM,
    ][$args['placement']];
    // The secret must not be empty, even if there is a key.
    $secret = $args['consumer_secret'] ?: 'unused';
    $oauth = new OAuth($args['consumer'], $secret, $args['method'], $type);
    if ($args['rsa_key'] !== '') {
        $oauth->setRSACertificate($args['rsa_key']);
    }
    return $oauth;
}

// legs gets an access token in three legs.
function legs(OAuth $oauth, array $args): array
{
    // GET is the extension's default, and has no form.
    $method = $args['placement'] === 'body' ? OAUTH_HTTP_METHOD_POST : OAUTH_HTTP_METHOD_GET;
    $endpoints = $args['endpoints'];
    $request = $oauth->getRequestToken($endpoints['request_token'], $args['callback'], $method);
    $answer = ask('authorize', [
        'request_token' => $request['oauth_token'],
        'url' => $endpoints['authorize'] . '?oauth_token=' . urlencode($request['oauth_token']),
    ]);
    $verifier = $answer['verifier'] ?? null;
    if (isset($answer['redirect'])) {
        parse_str(parse_url($answer['redirect'], PHP_URL_QUERY), $query);
        $verifier = $query['oauth_verifier'];
    }
    $oauth->setToken($request['oauth_token'], $request['oauth_token_secret']);
    $access = $oauth->getAccessToken($endpoints['access_token'], null, $verifier, $method);
    $oauth->setToken($access['oauth_token'], $access['oauth_token_secret']);
    return [
        'confirmed' => $request['oauth_callback_confirmed'] ?? null,
        'token' => $access['oauth_token'],
        'secret' => $access['oauth_token_secret'],
    ];
}

function send(OAuth $oauth, array $r): void
{
    switch ($r['kind']) {
        case 'query':
            $oauth->fetch($r['url'], null, OAUTH_HTTP_METHOD_GET);
            return;
        case 'form':
            $oauth->fetch($r['url'], array_column($r['form'], 1, 0), OAUTH_HTTP_METHOD_POST);
            return;
        case 'multipart':
            // With the curl engine the body would be ['@file' => '@/path']. Debian builds the
            // extension without it, so users make the body themselves.
            [$type, $body] = multipart($r);
            break;
        case 'upload':
            [$type, $body] = [$r['content_type'], file_get_contents($r['body_file'])];
            break;
        default:
            [$type, $body] = [$r['content_type'], $r['body']];
    }
    $oauth->fetch($r['url'], $body, $r['method'], ['Content-Type' => $type]);
}

function multipart(array $r): array
{
    $boundary = bin2hex(random_bytes(16));
    $body = '';
    foreach ($r['form'] as [$name, $value]) {
        $body .= "--$boundary\r\nContent-Disposition: form-data; name=\"$name\"\r\n\r\n$value\r\n";
    }
    foreach ($r['files'] as [$name, $filename, $type, $text]) {
        $body .= "--$boundary\r\nContent-Disposition: form-data; ";
        $body .= "name=\"$name\"; filename=\"$filename\"\r\n";
        $body .= "Content-Type: $type\r\n\r\n$text\r\n";
    }
    return ["multipart/form-data; boundary=$boundary", "$body--$boundary--\r\n"];
}

$args = json_decode($argv[1], true, flags: JSON_THROW_ON_ERROR);
$oauth = client($args);
if ($args['callback'] === '') {
    $oauth->setToken($args['token'], $args['secret']);
    $result = ['token' => $args['token'], 'secret' => $args['secret'], 'sent' => []];
} else {
    $result = legs($oauth, $args);
}
foreach ($args['requests'] as $r) {
    $sent = ['name' => $r['name']];
    try {
        send($oauth, $r);
    } catch (OAuthException $e) { // the status is not 2xx
        if (!$e->lastResponse) {
            $sent['error'] = $e->getMessage();
        }
    }
    if (!isset($sent['error'])) {
        $sent['status'] = $oauth->getLastResponseInfo()['http_code'];
    }
    $result['sent'][] = $sent;
}
say(['result' => $result]);

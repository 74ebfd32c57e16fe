import com.google.api.client.auth.oauth.OAuthAuthorizeTemporaryTokenUrl;
import com.google.api.client.auth.oauth.OAuthCredentialsResponse;
import com.google.api.client.auth.oauth.OAuthGetAccessToken;
import com.google.api.client.auth.oauth.OAuthGetTemporaryToken;
import com.google.api.client.auth.oauth.OAuthHmacSha256Signer;
import com.google.api.client.auth.oauth.OAuthHmacSigner;
import com.google.api.client.auth.oauth.OAuthParameters;
import com.google.api.client.auth.oauth.OAuthRsaSigner;
import com.google.api.client.auth.oauth.OAuthSigner;
import com.google.api.client.http.ByteArrayContent;
import com.google.api.client.http.FileContent;
import com.google.api.client.http.GenericUrl;
import com.google.api.client.http.HttpContent;
import com.google.api.client.http.HttpHeaders;
import com.google.api.client.http.HttpMediaType;
import com.google.api.client.http.HttpRequest;
import com.google.api.client.http.HttpResponse;
import com.google.api.client.http.HttpTransport;
import com.google.api.client.http.MultipartContent;
import com.google.api.client.http.UrlEncodedContent;
import com.google.api.client.http.javanet.NetHttpTransport;
import com.google.gson.JsonObject;
import java.io.File;
import java.nio.charset.StandardCharsets;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.LinkedHashMap;
import java.util.Map;

/** Drives Google's OAuth client for Java as its documentation, and Atlassian's example, say. */
public class GoogleDriver implements Matrix.Client {
    private final HttpTransport transport = new NetHttpTransport();
    private final JsonObject args, endpoints;
    private final OAuthSigner signer;
    private OAuthParameters parameters; // of the requests, once there is an access token
    private String key, secret;

    public static void main(String[] argv) throws Exception {
        JsonObject args = Matrix.arguments(argv);
        Matrix.run(new GoogleDriver(args), args);
    }

    GoogleDriver(JsonObject args) throws Exception {
        this.args = args;
        endpoints = args.getAsJsonObject("endpoints");
        switch (Matrix.text(args, "method")) {
            case "RSA-SHA1":
                OAuthRsaSigner rsa = new OAuthRsaSigner();
                rsa.privateKey = privateKey(Matrix.text(args, "rsa_key"));
                signer = rsa;
                break;
            case "HMAC-SHA256":
                signer = new OAuthHmacSha256Signer(Matrix.text(args, "consumer_secret"));
                break;
            default:
                OAuthHmacSigner hmac = new OAuthHmacSigner();
                hmac.clientSharedSecret = Matrix.text(args, "consumer_secret");
                signer = hmac;
        }
    }

    /** Java reads PKCS #8 only. */
    private static PrivateKey privateKey(String pem) throws Exception {
        String[] command = {"openssl", "pkcs8", "-topk8", "-nocrypt", "-outform", "DER"};
        Process openssl = new ProcessBuilder(command)
                .redirectError(ProcessBuilder.Redirect.INHERIT).start();
        try (var in = openssl.getOutputStream()) {
            in.write(pem.getBytes(StandardCharsets.UTF_8));
        }
        byte[] der = openssl.getInputStream().readAllBytes();
        return KeyFactory.getInstance("RSA").generatePrivate(new PKCS8EncodedKeySpec(der));
    }

    private void take(OAuthCredentialsResponse answer) {
        key = answer.token;
        secret = answer.tokenSecret;
        if (signer instanceof OAuthHmacSigner) {
            ((OAuthHmacSigner) signer).tokenSharedSecret = secret;
        } else if (signer instanceof OAuthHmacSha256Signer) {
            ((OAuthHmacSha256Signer) signer).setTokenSecret(secret);
        }
    }

    @Override
    public String requestToken(String callback) throws Exception {
        var request = new OAuthGetTemporaryToken(Matrix.text(endpoints, "request_token"));
        request.consumerKey = Matrix.text(args, "consumer");
        request.signer = signer;
        request.transport = transport;
        request.callback = callback;
        OAuthCredentialsResponse answer = request.execute();
        take(answer);
        return String.valueOf(answer.callbackConfirmed);
    }

    @Override
    public String authorizeUrl() {
        var url = new OAuthAuthorizeTemporaryTokenUrl(Matrix.text(endpoints, "authorize"));
        url.temporaryToken = key;
        return url.build();
    }

    @Override
    public void accessToken(String verifier) throws Exception {
        var request = new OAuthGetAccessToken(Matrix.text(endpoints, "access_token"));
        request.consumerKey = Matrix.text(args, "consumer");
        request.signer = signer;
        request.transport = transport;
        request.temporaryToken = key;
        request.verifier = verifier;
        take(request.execute());
        parameters = request.createParameters();
        parameters.token = key;
        parameters.verifier = null;
    }

    @Override
    public void withToken(String key, String secret) {
        OAuthCredentialsResponse given = new OAuthCredentialsResponse();
        given.token = key;
        given.tokenSecret = secret;
        take(given);
        parameters = new OAuthParameters();
        parameters.consumerKey = Matrix.text(args, "consumer");
        parameters.signer = signer;
        parameters.token = key;
    }

    @Override
    public String[] token() {
        return new String[] {key, secret};
    }

    @Override
    public int send(JsonObject r) throws Exception {
        HttpRequest request = transport.createRequestFactory(parameters).buildRequest(
                Matrix.text(r, "method"), new GenericUrl(Matrix.text(r, "url")), content(r));
        request.setThrowExceptionOnExecuteError(false);
        HttpResponse response = request.execute();
        response.parseAsString(); // to its end
        return response.getStatusCode();
    }

    /** The body of a request that has one, as the library's users make it. */
    private static HttpContent content(JsonObject r) {
        String type = Matrix.text(r, "content_type");
        switch (Matrix.text(r, "kind")) {
            case "form":
                Map<String, String> form = new LinkedHashMap<>();
                for (String[] pair : Matrix.rows(r, "form")) {
                    form.put(pair[0], pair[1]);
                }
                return new UrlEncodedContent(form);
            case "multipart":
                MultipartContent parts = new MultipartContent();
                parts.setMediaType(new HttpMediaType("multipart/form-data")
                        .setParameter("boundary", parts.getBoundary()));
                for (String[] pair : Matrix.rows(r, "form")) {
                    part(parts, "name=\"" + pair[0] + "\"", "text/plain", pair[1]);
                }
                for (String[] file : Matrix.rows(r, "files")) {
                    String names = "name=\"" + file[0] + "\"; filename=\"" + file[1] + "\"";
                    part(parts, names, file[2], file[3]);
                }
                return parts;
            case "json":
                return ByteArrayContent.fromString(type, Matrix.text(r, "body"));
            case "upload":
                return new FileContent(type, new File(Matrix.text(r, "body_file")));
            default:
                return null;
        }
    }

    private static void part(MultipartContent parts, String names, String type, String text) {
        HttpHeaders headers = new HttpHeaders().set("Content-Disposition", "form-data; " + names);
        HttpContent content = ByteArrayContent.fromString(type, text);
        parts.addPart(new MultipartContent.Part(headers, content));
    }
}

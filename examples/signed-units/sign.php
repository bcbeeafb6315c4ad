<?php

function unit_signature(string $secret, string $user_id): string
{
    return hash_hmac('sha256', $user_id, $secret);
}

echo unit_signature(getenv('UNIT_SECRET'), $argv[1]), "\n";
